"""A naive Bayes classifier of spam that learns from what people decided before."""

import math
import re
from collections import Counter
from collections.abc import Iterable

from shop.search import terms_of

LINK = re.compile(r"https?://\S+")


class SpamFilter:
    """Learns from `examples`, pairs of a text and whether a person called it spam."""

    def __init__(self, examples: Iterable[tuple[str, bool]]) -> None:
        self.texts = {True: 0, False: 0}
        self.words: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        for text, is_spam in examples:
            self.texts[is_spam] += 1
            self.words[is_spam].update(features_of(text))

    def probability(self, text: str) -> float:
        """How probable it is that `text` is spam, from 0 to 1; 0.5 when nothing was learned."""
        log_odds = math.log((self.texts[True] + 1) / (self.texts[False] + 1))
        log_odds += sum(self._evidence(feature) for feature in features_of(text))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, log_odds))))

    def _evidence(self, feature: str) -> float:
        # One is added to each count: a word seen on one side only would otherwise decide alone.
        spam = (self.words[True][feature] + 1) / (self.texts[True] + 2)
        ham = (self.words[False][feature] + 1) / (self.texts[False] + 2)
        return math.log(spam / ham)


def features_of(text: str) -> set[str]:
    """The words of a text, and marks for other signs of spam."""
    features = set(terms_of(LINK.sub(" ", text)))
    features.update(f"<link {number}>" for number in range(1, min(3, len(LINK.findall(text))) + 1))
    if sum(map(str.isupper, text)) > len(text) / 3:
        features.add("<shouting>")
    return features
