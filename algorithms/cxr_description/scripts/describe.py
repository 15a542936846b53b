"""Writes configs/dicom.json from cxr_thorax's, docs/cross_validation.json and the files in models/.

A word may be written of a class only if the class is reported by cxr_thorax, and if its attribute
beat the most frequent sequence of the class in cross-validation with an interval above zero.

python -m scripts.describe
"""

import hashlib
import json
from pathlib import Path

from scripts import words

THORAX = Path("../cxr_thorax/configs/dicom.json")
AT_LEAST = 0.7
INTENDED_USE = (
    "Research use only. Short statements (disease / organ / location / side / size) on upright "
    "frontal chest radiographs, by a recurrent network trained on about a thousand public images: "
    "ChestX-ray14 with labels mined from reports, boxes of the RSNA Pneumonia Detection Challenge, "
    "nodules of JSRT; places and sizes were derived from boxes and masks. Not a medical device, "
    "not for diagnosis. What is not named was not looked for."
)


def may_say(classes: dict[str, dict[str, object]]) -> dict[str, dict[str, str]]:
    """Return class -> word number -> word."""
    judged = json.loads(Path("docs/cross_validation.json").read_text())["attributes"]
    good = {(one["disease"], one["attribute"]) for one in judged if one["round 2, gain"][1] > 0}
    allowed = {}
    for number, disease in enumerate(words.DISEASES):
        if not classes[str(number)]["reported"]:
            continue
        chosen = [words.ORGAN_OF.get(disease, "lung")]
        for slot, vocabulary in words.SLOTS.items():
            if (disease, slot) in good:
                other = words.SIZES if disease == "Cardiomegaly" else words.DEGREES
                chosen.extend(word for word in vocabulary if word not in other)
        allowed[str(number)] = {str(words.NUMBER[word]): word for word in chosen}
    return allowed


def described() -> dict[str, object]:
    """Return what configs/dicom.json says."""
    thorax = json.loads(THORAX.read_text())
    classes = thorax["outputs"]["pred"]["classes"]
    for one in classes.values():
        one.pop("boxes", None)
    files = sorted(Path("models").glob("*.safetensors"))
    return {
        "schema": 1,
        "name": "cxr_description",
        "manufacturer": "dicomnode",
        "title": "Frontal chest radiographs in words",
        "intended_use": INTENDED_USE,
        "inputs": thorax["inputs"],
        "gate": thorax["gate"],
        "outputs": {
            "pred": {
                "kind": "statements",
                "classes": classes,
                "words": may_say(classes),
                "at_least": AT_LEAST,
            }
        },
        "time_limit_s": thorax["time_limit_s"],
        "files": {path.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }


def network() -> dict[str, object]:
    """Return `network_def` of configs/inference.json."""
    judged = json.loads(Path("docs/test.json").read_text())
    return {
        "_target_": "dicomnode.networks.description.DescriptionReader",
        "classes": len(words.DISEASES) - 1,
        "words": len(words.VOCABULARY),
        "diseases": [words.NUMBER[name] for name in words.DISEASES],
        "context": judged["clusters"],
        "length": words.LENGTH,
        "bases_for": list(words.DISEASES).index("Effusion"),
    }


def main() -> None:
    Path("configs/dicom.json").write_text(json.dumps(described(), indent=2) + "\n")
    inference = json.loads(Path("../cxr_thorax/configs/inference.json").read_text())
    inference["network_def"] = network()
    inference["run"] = [inference["run"][0].replace("logits", "words")]
    Path("configs/inference.json").write_text(json.dumps(inference, indent=2) + "\n")


if __name__ == "__main__":
    main()
