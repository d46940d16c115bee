"""What a model reads of a row that has more tokens than its `pad_size`.

- `head`: the first tokens.
- `head_tail`: the first and the last ones. A quarter is from the head, as the 128 of 512 tokens in Sun et al. 2019,
  https://arxiv.org/abs/1905.05583. No n-gram spans the joint.
- `windows`: windows of `pad_size` tokens, of which neighbours share a quarter. A row's logits are the mean over its
  windows; training reads one of them, drawn at random for each row and epoch. A row has at most `MOST_WINDOWS`.
"""

from typing import NamedTuple

import numpy as np

MODES = HEAD, HEAD_TAIL, WINDOWS = ("head", "head_tail", "windows")
PART = 4  # the head is a PARTth of the tokens, and so is what neighbouring windows share
MOST_WINDOWS = 16  # of a row


class Truncation(NamedTuple):
    """The tokens of a long row that are read: of a row and window at most `limit`, by one of the `MODES`.

    framed: whether each window begins with [CLS] and ends with [SEP], which are then two of its tokens.
    """

    limit: int
    mode: str = HEAD
    framed: bool = False

    @property
    def head(self):
        """The tokens before the joint in a long row, or in a window."""
        return max(1, self.limit // PART) if self.mode == HEAD_TAIL else self.limit

    @property
    def stride(self):
        """The tokens from the beginning of a window to that of the next one."""
        return max(1, self.limit - max(self.limit // PART, 2 * self.framed))

    @property
    def most(self):
        """The tokens of a row that are read, at most."""
        return self.limit + (MOST_WINDOWS - 1) * self.stride if self.mode == WINDOWS else self.limit

    @property
    def reach(self):
        """How many tokens are read at least from the beginning of a long row, and how many from its end."""
        return (self.head, self.limit - self.head) if self.mode == HEAD_TAIL else (self.most, 0)

    def windows(self, lengths):
        """The number of windows of rows of these lengths, (N,) -> (N,) uint8. The last one ends where the row ends."""
        more = np.maximum(np.minimum(lengths, self.most) - self.limit, 0)
        return (1 - (-more // self.stride)).astype(np.uint8)
