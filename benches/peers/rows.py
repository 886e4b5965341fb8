"""Patterns of names, and what makes the rows of such names."""

import re


class Rows:
    def __init__(self):
        self.patterns = []

    def __call__(self, pattern):
        """Marks a function that makes rows: it is given the pattern's groups, of sizes (`32x784`) as lists of numbers."""

        def mark(make):
            self.patterns.append((re.compile(pattern), make))
            return make

        return mark

    def make(self, name):
        """What is to be measured under a name, or None. Later patterns go before earlier ones."""
        for pattern, make in reversed(self.patterns):
            match = pattern.fullmatch(name)
            if match:
                return make(*map(read, match.groups()))
        return None


def read(group):
    if group is None or not re.fullmatch(r"[0-9]+(x[0-9]+)*|[0-9]e[0-9]", group):
        return group
    return [int(float(number)) for number in group.split("x")]


# What groups of patterns are.
SIZE = r"([0-9]+(?:x[0-9]+)*|[0-9]e[0-9])"
GRADIENTS = r"(-gradients)?"
