"""The words of a text, as the search index keeps them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping

WORD = re.compile(r"\w{2,64}")
STOP_WORDS = frozenset(
    ["an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to"]
)


def terms_of(text: str) -> Iterator[str]:
    """The words of `text` without case and accents: "Café" and "cafe" are the same word on every database."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return (word for word in WORD.findall(plain) if word not in STOP_WORDS)


def weighed_terms(texts: Mapping[str, int]) -> Counter[str]:
    """Each word of the texts with its weight: each time it occurs adds the weight of that text."""
    weights: Counter[str] = Counter()
    for text, weight in texts.items():
        for term in terms_of(text):
            weights[term] += weight
    return weights
