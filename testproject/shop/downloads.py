"""Fetching files over HTTP: only when they changed, and only whole."""

import shutil
import tempfile
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

TIMEOUT = 10  # seconds


class ServerBusy(Exception):
    """The server asks to come back in `retry_after` seconds."""

    def __init__(self, url: str, retry_after: float) -> None:
        super().__init__(f"{url} asks to come back in {retry_after:g} s")
        self.retry_after = retry_after


class IncompleteDownload(Exception):
    """The connection ended before the end of the file."""


@contextmanager
def fetched(url: str, etag: str = ""):
    """The content of `url` as a temporary file, with its ETag; None and `etag` if it has not changed.

    Raises ServerBusy, IncompleteDownload, or what urllib raises.
    """
    response = _response(url, etag)
    if response is None:
        yield None, etag
        return
    with response, tempfile.TemporaryFile() as file:
        shutil.copyfileobj(response, file)
        size = response.headers.get("Content-Length")
        if size is not None and file.tell() != int(size):
            raise IncompleteDownload(f"{url}: {file.tell()} of {size} bytes")
        file.seek(0)
        yield file, response.headers.get("ETag", "")


def _response(url, etag):
    try:
        return urlopen(Request(url, headers={"If-None-Match": etag}), timeout=TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code == 304:
                return None
            if error.code == 503:
                raise ServerBusy(url, float(error.headers.get("Retry-After", 60))) from error
            raise
