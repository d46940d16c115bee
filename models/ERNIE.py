"""ERNIE: Enhanced Representation through Knowledge Integration, Sun et al. 2019, https://arxiv.org/abs/1904.09223

It is `bert` on another encoder's weights: ERNIE differs by what it was trained to fill in.
"""

from dataclasses import dataclass
from typing import ClassVar

from models import bert


@dataclass
class Config(bert.Config):
    directory: ClassVar[str] = "ERNIE_pretrain"


Model = bert.Model
