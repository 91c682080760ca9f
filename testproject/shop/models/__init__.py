from shop.models.blog import Comment, Post, SocialAccount
from shop.models.catalogue import CollectionRule, Product, SearchTerm, SmartCollection, Thumbnail
from shop.models.sales import Customer, Newsletter, Order, OrderLine
from shop.models.supply import Download, Supplier

__all__ = [
    "CollectionRule",
    "Comment",
    "Customer",
    "Download",
    "Newsletter",
    "Order",
    "OrderLine",
    "Post",
    "Product",
    "SearchTerm",
    "SmartCollection",
    "SocialAccount",
    "Supplier",
    "Thumbnail",
]
