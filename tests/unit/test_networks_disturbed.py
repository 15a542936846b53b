"""Training images in other styles, and coarse answers made worse."""

import numpy as np
import torch

from dicomnode.networks.disturbed import disturb_answer, restyle


def test_a_restyled_image_still_tells_its_tissues_apart() -> None:
    image = torch.full((24, 24, 24), -0.6)
    image[6:18, 6:18, 6:18] = 0.3
    apart = []
    for seed in range(40):
        styled = restyle(np.random.default_rng(seed), image)
        assert styled.shape == image.shape
        assert styled.isfinite().all()
        apart.append(float((styled[8:16, 8:16, 8:16].mean() - styled[:3].mean()).abs()))
    assert min(apart) > 0.05
    assert max(apart) - min(apart) > 0.1, "every style is the same"


def test_organs_are_changed_and_what_is_no_organ_is_not() -> None:
    said = torch.zeros(3, 20, 20, 20)
    said[0, 5:15, 5:15, 5:15] = 0.9
    said[1, :4] = 0.8
    said[2] = 0.1
    kinds = set()
    for seed in range(60):
        worse = disturb_answer(np.random.default_rng(seed), said, 1)
        assert worse.min() >= 0
        assert worse.max() <= 1
        before, after = (said[0] > 0.5).sum(), (worse[0] > 0.5).sum()
        kinds.add("less" if after < before else "more" if after > before else "same")
    assert kinds == {"less", "more", "same"}
    assert said[0, 5:15, 5:15, 5:15].min() > 0.89, "what was given was changed"
