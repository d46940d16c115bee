"""ERNIE: Enhanced Representation through Knowledge Integration, Sun et al. 2019, https://arxiv.org/abs/1904.09223

It is `bert` with the weights of another encoder, which was pre-trained on other masks.
"""

from dataclasses import dataclass
from typing import ClassVar

from models import bert


@dataclass
class Config(bert.Config):
    directory: ClassVar[str] = "ERNIE_pretrain"


Model = bert.Model
