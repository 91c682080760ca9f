"""The social network's API, as much of it as the shop needs."""

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

TIMEOUT = 10  # seconds


class OAuthException(Exception):
    """The network does not accept the access token (any more)."""


def update(api_url: str, access_token: str, status: str) -> str:
    """Post `status` on the account that `access_token` belongs to. Returns the id of the post."""
    request = Request(
        api_url,
        data=json.dumps({"text": status}).encode(),
        headers={"Authorization": f"Bearer {access_token}", "Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=TIMEOUT) as response:
            return json.load(response)["data"]["id"]
    except HTTPError as error:
        with error:
            if error.code == 401:
                raise OAuthException(json.load(error)["error"]["message"]) from error
            raise
