from urllib.error import HTTPError

import pytest

from shop import twitter
from shop.models import Post, SocialAccount


def test_a_tweet_arrives_and_gets_an_id(servers):
    assert twitter.update(servers.web.tweets_url, "good", "New boards!") == "1"
    assert servers.web.tweets == ["New boards!"]


def test_an_expired_token_is_an_error_of_its_own(servers):
    with pytest.raises(twitter.OAuthException, match="Error validating access token"):
        twitter.update(servers.web.tweets_url, "expired", "New boards!")
    assert servers.web.tweets == []


def test_a_wrong_address_is_an_error(servers):
    with pytest.raises(HTTPError, match="404"):
        twitter.update(servers.web.url + "nowhere", "good", "New boards!")


@pytest.mark.django_db
def test_a_post_is_announced_once_however_often_it_is_tried(servers):
    account = SocialAccount.objects.create(name="shop", api_url=servers.web.tweets_url, access_token="good")
    post = Post.objects.create(account=account, title="New boards", slug="new-boards")
    post.send_to_twitter()
    Post.objects.get().send_to_twitter()
    assert servers.web.tweets == ["New boards https://shop.example/posts/new-boards/"]
    assert Post.objects.get().tweet_id == "1"
