"""Texts to piece ids without a download: a vocabulary of word pieces that lies in the package."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import re
from collections import Counter
from collections.abc import Iterable, Sequence

PAD, START, SEPARATOR = 0, 1, 2
BYTES = 3
"""Ids 3 to 258 are the 256 bytes, so that no text is unknown."""
FIRST = BYTES + 256
WORD = "▁"
"""Begins every word, as in SentencePiece."""
VOCABULARY = 4096
"""Ids in all: 3 special, 256 bytes and the pieces of `pieces.txt`."""
LONGEST = 24
"""Letters of a piece."""

_WORDS = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")


def words_of(text: str) -> list[str]:
    """The words, single digits and signs of a text, in lower case."""
    return _WORDS.findall(text.lower())


class Pieces:
    """Greedy longest-match tokenizer.

    Args:
        pieces: the vocabulary; the first has id `FIRST`.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = tuple(pieces)
        self.key = hashlib.sha256("\n".join(self.pieces).encode()).hexdigest()
        self._ids = {piece: FIRST + i for i, piece in enumerate(self.pieces)}
        self._word = functools.lru_cache(maxsize=100_000)(self._of_word)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without a start."""
        return [i for word in words_of(text) for i in self._word(word)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """First character and the one after the last, of the word that each id of `encode` is a part of."""
        # A capital may have two small letters, such as the dotted I of Turkish.
        origin = [place for place, letter in enumerate(text) for _ in letter.lower()]
        return [
            (origin[match.start()], origin[match.end() - 1] + 1)
            for match in _WORDS.finditer(text.lower())
            for _ in self._word(match.group())
        ]

    def _of_word(self, word: str) -> tuple[int, ...]:
        rest, ids = WORD + word, list[int]()
        while rest and rest != WORD:
            for end in range(min(len(rest), LONGEST), 0, -1):
                if (found := self._ids.get(rest[:end])) is not None:
                    ids.append(found)
                    rest = rest[end:]
                    break
            else:
                letter = rest[1] if rest[0] == WORD else rest[0]
                ids += [BYTES + byte for byte in letter.encode("utf-8", "surrogatepass")]
                rest = rest[2:] if rest[0] == WORD else rest[1:]
        return tuple(ids)


@functools.cache
def shipped() -> Pieces:
    """The tokenizer of the vocabulary in this package."""
    path = importlib.resources.files("zoo_starter") / "pieces.txt"
    return Pieces(path.read_text(encoding="utf-8").splitlines())


def learn(texts: Iterable[str], size: int = VOCABULARY) -> list[str]:
    """A vocabulary for these texts: their most frequent words and letter runs, `size` ids with those reserved.

    A third of the places goes to runs of letters inside words, so that unseen words fall into few pieces.
    """
    words = Counter(word for text in texts for word in words_of(text) if word.isascii())
    runs: Counter[str] = Counter()
    for word, count in words.items():
        whole = WORD + word
        for start in range(len(whole)):
            for end in range(start + 2, min(start + 8, len(whole)) + 1):
                # Longer runs save more ids; one word counts little, so that runs shared by many words win.
                runs[whole[start:end]] += min(count, 20) * (end - start - 1)
    letters = sorted(
        {letter for word in words for letter in word} | {WORD + letter for word in words for letter in word[0]}
    )
    kept = dict.fromkeys(letters)
    places = size - FIRST - len(kept)
    ranked_words = [
        WORD + w for w, _ in sorted(words.items(), key=lambda item: (-item[1], item[0])) if len(w) <= LONGEST - 1
    ]
    ranked_runs = [run for run, _ in sorted(runs.items(), key=lambda item: (-item[1], item[0]))]
    for ranked, share in ((ranked_runs, places // 3), (ranked_words, size)):
        for piece in ranked:
            if share == 0 or len(kept) == size - FIRST:
                break
            if piece not in kept:
                kept[piece] = None
                share -= 1
    return list(kept)
