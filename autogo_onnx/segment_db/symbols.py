"""The three forms of a token, and the characters that stand for tokens in strings.

A character costs two to four bytes where a token costs fifty, slices of strings are looked up
faster than anything else, and sentencepiece reads nothing but text. All are of the private use
areas, which no rule of Unicode takes apart, joins or changes.
"""

from __future__ import annotations

from autogo_onnx.operator_labels import KIN

LEVELS = range(3)
KINDS = 2
_FIRST_PRIVATE, _PRIVATE, _FIRST_OF_PLANE_15 = 0xE000, 0x1900, 0xF0000


def form(token: str, level: int) -> str:
    """A token in one of its forms: 0 whole, 1 without neighbours, 2 the kind of operator alone.

    >>> [form("Clip:c=,r=|Conv|Conv", level) for level in LEVELS]
    ['Clip:c=,r=|Conv|Conv', 'Clip:c=,r=', 'Activation']
    """
    if level < KINDS:
        return token.split("|", 1)[0] if level else token
    kind = token.split(":", 1)[0].split("|", 1)[0]
    return KIN.get(kind, kind)


def character(number: int) -> str:
    """The character of a number from 0 to 137,471."""
    if number < _PRIVATE:
        return chr(_FIRST_PRIVATE + number)
    return chr(_FIRST_OF_PLANE_15 + number - _PRIVATE)


def number(symbol: str) -> int:
    """The number of a character.

    >>> [number(character(n)) for n in (0, 6399, 6400, 137471)]
    [0, 6399, 6400, 137471]
    """
    code = ord(symbol)
    if code < _FIRST_OF_PLANE_15:
        return code - _FIRST_PRIVATE
    return code - _FIRST_OF_PLANE_15 + _PRIVATE
