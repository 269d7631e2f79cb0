import numpy as np
import pytest
import torch

from napari_promise.model.sam import Embedding

PLANES, SIDE = 15, 48


def ball(centre, radius, planes=PLANES, side=SIDE):
    z, r, c = np.ogrid[:planes, :side, :side]
    return (z - centre[0]) ** 2 + (r - centre[1]) ** 2 + (
        c - centre[2]
    ) ** 2 <= radius**2


class Phantom:
    """A stack with two bright balls, whose embedding is the picture itself."""

    def __init__(self):
        self.one = ball((7, 18, 18), 5.5)
        self.two = ball((7, 32, 32), 5.5)
        noise = np.random.default_rng(0).normal(0, 0.03, self.one.shape)
        self.volume = (0.2 + 0.6 * self.one + 0.35 * self.two + noise).clip(0, 1)
        self.volume = self.volume.astype(np.float32)
        self.encoded = []

    def pixels(self, plane):
        return self.volume[plane]

    def embed(self, plane):
        self.encoded.append(plane)
        picture = torch.from_numpy(self.volume[plane])
        image = torch.stack([picture, picture**2, 1 - picture])[None]
        return Embedding(image, (), (SIDE, SIDE), (SIDE, SIDE), "phantom")


@pytest.fixture
def phantom():
    return Phantom()
