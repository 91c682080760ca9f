import pytest

from shop.models import Order

pytestmark = pytest.mark.django_db


def test_a_cancelled_order_gives_its_goods_back_once(shop):
    order = Order.objects.first()
    product = order.lines.get().product
    assert order.cancel()
    assert not order.cancel()
    stock = product.stock
    product.refresh_from_db()
    assert product.stock == stock + 2
    order.refresh_from_db()
    assert order.state == Order.State.CANCELLED


def test_a_paid_order_is_not_cancelled(shop):
    order = Order.objects.first()
    Order.objects.update(state=Order.State.PAID)
    assert not order.cancel()
