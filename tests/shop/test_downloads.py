from urllib.error import HTTPError

import pytest

from shop.downloads import IncompleteDownload, ServerBusy, fetched


def test_a_file_is_fetched_with_its_etag(servers):
    with fetched(servers.web.url + "board.txt") as (file, etag):
        assert file.read() == b"long and light"
        assert etag


def test_a_file_that_did_not_change_is_not_sent_again(servers):
    url = servers.web.url + "board.txt"
    with fetched(url) as (_, etag):
        pass
    with fetched(url, etag) as (file, same):
        assert (file, same) == (None, etag)
    servers.web.files["/board.txt"] = b"longer"
    with fetched(url, etag) as (file, other):
        assert file.read() == b"longer"
        assert other != etag


def test_a_busy_server_says_when_to_come_back(servers):
    servers.web.busy.add("/board.txt")
    with pytest.raises(ServerBusy) as raised, fetched(servers.web.url + "board.txt"):
        pass
    assert raised.value.retry_after == 1


def test_a_file_that_is_not_there_is_an_error(servers):
    with pytest.raises(HTTPError, match="404"), fetched(servers.web.url + "jacket.txt"):
        pass


def test_an_incomplete_file_is_an_error(servers):
    servers.web.broken.add("/board.txt")
    with pytest.raises(IncompleteDownload, match="7 of 14 bytes"), fetched(servers.web.url + "board.txt"):
        pass
