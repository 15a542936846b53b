"""How often labels occur in the whole of ChestX-ray14, for weighting samples of it."""

import numpy as np
import numpy.typing as npt

from dicomnode.evaluation.ranking import Numbers, raked

NIH_IMAGES = 112_120
NIH_LABELS = {
    "Atelectasis": 11_559,
    "Cardiomegaly": 2_776,
    "Effusion": 13_317,
    "Infiltration": 19_894,
    "Mass": 5_782,
    "Nodule": 6_331,
    "Pneumonia": 1_431,
    "Pneumothorax": 5_302,
    "Consolidation": 4_667,
    "Edema": 2_303,
    "Emphysema": 2_516,
    "Fibrosis": 1_686,
    "Pleural_Thickening": 3_385,
    "Hernia": 227,
    "No Finding": 60_361,
}
"""Images of each label in Data_Entry_2017_v2020.csv (NIH Clinical Center)."""
NIH_AP = 44_810

CHESTXRAY8_RESNET50 = {
    "Atelectasis": 0.7069,
    "Cardiomegaly": 0.8141,
    "Effusion": 0.7362,
    "Infiltration": 0.6128,
    "Mass": 0.5609,
    "Nodule": 0.7164,
    "Pneumonia": 0.6333,
    "Pneumothorax": 0.7891,
}
"""AUC of ResNet-50 with W-CEL (Wang et al. 2017): another test set, for orientation only."""


def nih_weights(truths: dict[str, Numbers], is_ap: Numbers) -> Numbers:
    """Weights under which labels and AP views are as frequent as in ChestX-ray14.

    `truths` is label -> 0 or 1 of each image; labels that ChestX-ray14 does not have, or with
    unknown values, are not weighted for. "No Finding" is what has none of the others, where all
    are known.
    """

    known: dict[str, npt.NDArray[np.bool_]] = {
        name: values > 0.5
        for name, values in truths.items()
        if name in NIH_LABELS and not np.isnan(values).any()
    }
    if set(known) == NIH_LABELS.keys() - {"No Finding"}:
        known["No Finding"] = np.asarray(~np.stack(list(known.values())).any(0))
    flags = np.column_stack([*known.values(), is_ap > 0.5])
    shares = [NIH_LABELS[name] / NIH_IMAGES for name in known] + [NIH_AP / NIH_IMAGES]
    return raked(flags, shares)
