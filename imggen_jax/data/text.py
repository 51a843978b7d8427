"""Words of captions, and the vocabulary that is learned from them.

Before words are compared, text is normalized to NFC and case-folded. A word is a run of letters, marks and digits of
any script, with apostrophes inside; where a script writes no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese), it
is a single character.
"""
from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable

MOST_WORDS = 8192

# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
_SINGLE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff" \
          "\U00020000-\U0003ffff"


def words(text: str) -> list[str]:
    """The words of a text, normalized. What counts as a word stands at the top of this module."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).replace("\u2019", "'")
    return (_ASCII if folded.isascii() else _pattern()).findall(folded)


def learn(texts: Iterable[str], most: int = MOST_WORDS) -> tuple[str, ...]:
    """The vocabulary of texts: their `most` most frequent words, the most frequent first, else by the alphabet."""
    counts = Counter(word for text in texts for word in words(text))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:most])


_ASCII = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")


@functools.cache
def _pattern() -> re.Pattern:
    # `re` does not count combining marks as letters, though words of many scripts are written with them.
    marks = "".join(re.escape(chr(code)) for code in range(0x300, sys.maxunicode + 1)
                    if unicodedata.category(chr(code))[0] == "M")
    letter = rf"(?:[^\W_{_SINGLE}]|[{marks}])"
    return re.compile(rf"[{_SINGLE}][{marks}]*|{letter}+(?:'{letter}+)*")
