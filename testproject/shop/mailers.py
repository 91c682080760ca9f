"""The letters that customers get."""

import csv
from io import StringIO

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.utils.html import format_html, format_html_join
from django_delayed.mail import Mailer

SHOP = "The snowboard shop <shop@shop.example>"


class CustomerMailer(Mailer):
    def welcome(self, customer):
        return EmailMessage(
            subject=f"Welcome, {customer.name}",
            body=f"Hello {customer.name},\n\nyour account is ready. See you on the slope!\n",
            from_email=SHOP,
            to=[customer.email],
        )

    def newsletter(self, newsletter, customer):
        """One customer's copy: as plain text, and as HTML."""
        message = EmailMultiAlternatives(
            subject=newsletter.subject,
            body=f"Hello {customer.name},\n\n{newsletter.body}\n",
            from_email=SHOP,
            to=[customer.email],
            headers={"List-Unsubscribe": "<https://shop.example/unsubscribe/>"},
        )
        html = format_html("<h1>{}</h1><p>{}</p>", newsletter.subject, newsletter.body)
        message.attach_alternative(html, "text/html")
        return message

    def confirmation(self, order):
        """What was ordered: in the letter, and as a CSV file attached to it."""
        lines = list(order.lines.select_related("product"))
        message = EmailMultiAlternatives(
            subject=f"Your order {order.pk}",
            body="\n".join(f"{line} à {line.price}" for line in lines) + f"\n\nTotal: {order.total}\n",
            from_email=SHOP,
            to=[order.customer.email],
        )
        items = format_html_join("", "<li>{} à {}</li>", ((line, line.price) for line in lines))
        message.attach_alternative(
            format_html("<ul>{}</ul><p>Total: {}</p>", items, order.total), "text/html"
        )
        message.attach(f"order-{order.pk}.csv", _as_csv(lines), "text/csv")
        return message


def _as_csv(lines):
    text = StringIO()
    rows = csv.writer(text)
    rows.writerow(["sku", "product", "quantity", "price"])
    rows.writerows([line.product.sku, line.product.name, line.quantity, line.price] for line in lines)
    return text.getvalue()
