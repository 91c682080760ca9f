from datetime import timedelta

import pytest
from django_delayed.models import DelayedJob

from shop.models import Product, SearchTerm
from shop.search import terms_of, weighed_terms


def a_product(name, **fields):
    return Product.objects.create(sku=name[:32], name=name, price=10, **fields)


def found(text):
    return [product.name for product in Product.objects.search(text)]


def test_words_are_compared_without_case_and_accents():
    assert list(terms_of("Éclair BOARDS, naïve Straße")) == ["eclair", "boards", "naive", "strasse"]


def test_stop_words_are_left_out():
    assert list(terms_of("A board for the park")) == ["board", "park"]


def test_a_word_has_the_sum_of_the_weights_of_its_texts():
    assert weighed_terms({"Red board": 5, "a board, a red board": 1}) == {"red": 6, "board": 7}


@pytest.mark.django_db
def test_a_product_is_found_by_all_of_the_words():
    board = a_product("Powder board", vendor="Fjällvind")
    a_product("Powder jacket")
    SearchTerm.objects.index(Product.objects.values_list("pk", flat=True))
    assert found("BOARD fjallvind powder") == [board.name]
    assert found("board jacket") == []
    assert found("") == []


@pytest.mark.django_db
def test_a_word_in_the_name_counts_more_than_one_in_the_description():
    a_product("Ash board", description="For powder.")
    a_product("Powder board")
    SearchTerm.objects.index(Product.objects.values_list("pk", flat=True))
    assert found("powder") == ["Powder board", "Ash board"]


@pytest.mark.django_db
def test_indexing_again_removes_the_old_words():
    product = a_product("Powder board")
    product.reindex.now()
    product.name = "Racing board"
    product.save()
    product.reindex.now()
    assert found("powder") == []
    assert found("racing") == ["Racing board"]


@pytest.mark.django_db
def test_a_product_that_is_saved_often_is_indexed_once():
    board, jacket = a_product("Powder board"), a_product("Powder jacket")
    for price in range(1, 4):
        board.price = price
        board.save()
    rows = DelayedJob.objects.order_by("pk")
    assert [row.about for row in rows] == [f"shop.product:{product.pk}" for product in (jacket, board)]
    assert {row.run_at - row.created_at for row in rows} == {timedelta(seconds=1)}
