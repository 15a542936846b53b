"""A radiograph in words: a recurrent network unrolls disease / organ / location / side / size.

Shin, Roberts, Lu, Demner-Fushman, Yao, Summers: Learning to Read Chest X-Rays: Recurrent Neural
Cascade Model for Automated Image Annotation, CVPR 2016 (arXiv:1603.08486). As there, the image's
embedding is the recurrent network's first state, the disease its first word, and the joint
image-text vector (the mean of its states) is clustered into finer labels, which a head of the
image network learns: the cascade's second round.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dicomnode.networks.pooling import PyramidPool
from dicomnode.networks.thorax import Seen, ThoraxReader, ThoraxReading
from dicomnode.networks.thorax_geometry import GEOMETRY

__all__ = ["END", "ContextWriter", "DescriptionReader", "DescriptionReading"]

END = 0
"""The word that ends a sequence; it also fills what comes after."""


class DescriptionReading(ThoraxReading):
    """What `DescriptionReader` gives besides a `ThoraxReading`."""

    words: Tensor
    """(N, classes, length): numbers of words that follow each class's own, as if it were there."""
    certainty: Tensor
    """(N, classes, length): probability of each word, given those before it."""


class ContextWriter(nn.Module):
    """GRU that writes what belongs to a disease: its first state is made of the image.

    Args:
        embedding: numbers an image.
        words: of the vocabulary, `END` among them.
        hidden: of the GRU.
        word_size: numbers a word.
        dropout: of the first state and of words, in training.
    """

    def __init__(
        self,
        embedding: int,
        words: int,
        *,
        hidden: int = 48,
        word_size: int = 16,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.first_state = nn.Linear(embedding, hidden)
        self.word = nn.Embedding(words, word_size)
        self.cell = nn.GRUCell(word_size, hidden)
        self.answer = nn.Linear(hidden, words)
        self.dropout = nn.Dropout(dropout)

    def forward(self, image: Tensor, sequence: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `(N, length - 1, words)` of each next word, and the joint vector.

        Args:
            image: embedding `(N, E)`.
            sequence: `(N, length)`: the disease, then what belongs to it, `END` to the end.
        """
        state = self._begin(image)
        said, states = [], [state]
        for step in range(sequence.shape[1] - 1):
            state = self.cell(self.dropout(self.word(sequence[:, step])), state)
            said.append(self.answer(self.dropout(state)))
            states.append(state)
        return torch.stack(said, 1), _mean_until_end(torch.stack(states, 1), sequence)

    def write(self, image: Tensor, disease: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Return the likeliest words `(N, length)` after `disease` `(N,)`, and how sure they are.

        Each word is the likeliest after the one before it.
        """
        state, word = self._begin(image), disease
        ended = torch.zeros_like(disease, dtype=torch.bool)
        words, certainty = [], []
        for _ in range(length):
            state = self.cell(self.word(word), state)
            sure, word = self.answer(state).softmax(1).max(1)
            word = torch.where(ended, torch.full_like(word, END), word)
            ended = ended | (word == END)
            words.append(word)
            certainty.append(sure)
        return torch.stack(words, 1), torch.stack(certainty, 1)

    def _begin(self, image: Tensor) -> Tensor:
        state: Tensor = self.dropout(torch.tanh(self.first_state(image)))
        return state


def _mean_until_end(states: Tensor, sequence: Tensor) -> Tensor:
    """The mean of the states that the image and the words before `END` led to."""
    counted = torch.cat([torch.ones_like(sequence[:, :1]), (sequence[:, :-1] != END).long()], 1)
    weights = counted.to(states.dtype)[:, :, None]
    return (states * weights).sum(1) / weights.sum(1)


class DescriptionReader(nn.Module):
    """Reads a thorax (`ThoraxReader`) and writes, for each class, what would belong to it.

    The embedding is made of the classes' logits, the thorax's geometry, the map of opacities on a
    coarse grid, and the scores of the second round's labels (`context`).

    Args:
        classes: of the reader's head; the opacity is one more.
        words: of the vocabulary.
        diseases: number of the word that stands for each class, the opacity last.
        context: labels of the second round.
        length: words after the disease at most.
        hidden: of the GRU.
        grid: cells along each side of the map of opacities.
        cut, grids, bases_for: of the reader.
    """

    def __init__(
        self,
        *,
        classes: int,
        words: int,
        diseases: Sequence[int],
        context: int,
        length: int = 4,
        hidden: int = 48,
        grid: int = 6,
        cut: int = 512,
        grids: tuple[int, ...] = (4, 5, 6),
        bases_for: int | None = None,
    ) -> None:
        super().__init__()
        if len(diseases) != classes + 1:
            raise ValueError(f"{classes + 1} classes, but {len(diseases)} words for them")
        self.length, self.grid = length, grid
        self.reader = ThoraxReader(classes, cut=cut, grids=grids, bases_for=bases_for)
        self.pooling = PyramidPool(grids)
        pooled = self.reader.backbone.trunk_channels * self.pooling.places
        self.context = nn.Linear(pooled + len(GEOMETRY), context)
        size = classes + len(GEOMETRY) + grid * grid + context
        self.writer = ContextWriter(size, words, hidden=hidden)
        self.register_buffer("middle", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.register_buffer("diseases", torch.tensor(list(diseases)), persistent=False)
        self.middle: Tensor
        self.spread: Tensor
        self.diseases: Tensor

    def forward(self, image: Tensor) -> DescriptionReading:
        """Return the reading, and for every class the words that would belong to it."""
        seen = self.reader.see(image)
        reading = self.reader.read(seen)
        with torch.autocast(image.device.type, enabled=False):
            embedding = self.embedding(seen, self.reader.head_logits(seen).float())
            count, classes = len(image), len(self.diseases)
            words, certainty = self.writer.write(
                embedding.repeat_interleave(classes, 0), self.diseases.repeat(count), self.length
            )
        return {
            **reading,
            "words": words.reshape(count, classes, self.length),
            "certainty": certainty.reshape(count, classes, self.length),
        }

    def embedding(self, seen: Seen, logits: Tensor) -> Tensor:
        """Return `(N, E)`, each number about -1 to 1 and at most 4 either way.

        `logits` are the head's, `(N, classes)`.
        """
        geometry = self.reader.scaled(seen.geometry)
        pooled = torch.cat([self.pooling(seen.features), geometry], 1)
        coarse = functional.adaptive_avg_pool2d(seen.opacity.float(), self.grid).flatten(1)
        parts = [logits, geometry, coarse, self.context(pooled)]
        return ((torch.cat(parts, 1) - self.middle) / self.spread).clamp(-4, 4)
