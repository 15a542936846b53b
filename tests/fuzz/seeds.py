"""Where the corpus began: one good input of each kind, and a few known tricks.

    python -m tests.fuzz.seeds

All of it is made here; nothing is of a patient.
"""

import json
import ssl
import zlib
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from dicomnode.rules.loading import default_rules
from dicomnode.testing.bundles import write_bundle
from dicomnode.testing.sender import encoded, p_data, store_command
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

CORPUS = Path(__file__).with_name("corpus")
CT = str(CTImageStorage)
# Places in `targets.SYNTAXES`.
EXPLICIT, IMPLICIT, EXPLICIT_BIG, DEFLATED = range(4)

HL7 = (
    b"MSH|^~\\&|RIS|HOSPITAL|NODE|HERE|20260101120000||ORU^R01|77|P|2.5\r"
    b"PID|1||PHANTOM1^^^H||Test^Phantom||19500101|F\r"
    b"OBR|1|PL7|FI7|CT CHEST||20260101\r"
    b"OBX|1|TX|FINDINGS||No pleural effusion.||||||F\r"
    b"OBX|2|FT|IMPRESSION||Nodule of 8 mm.\\.br\\Left \\T\\ right.||||||F\r"
    b"OBX|3|ST|113014^DICOM Study^DCM||1.2.3||||||F\r"
)
FHIR = {
    "resourceType": "DiagnosticReport",
    "id": "r1",
    "status": "final",
    "identifier": [{"system": "urn:x", "value": "7"}],
    "issued": "2026-01-01T12:00:00+01:00",
    "conclusion": "No pneumothorax.",
    "presentedForm": [{"contentType": "text/plain", "data": "Tm8gZWZmdXNpb24u"}],
    "subject": {"reference": "#p"},
    "contained": [
        {
            "resourceType": "Patient",
            "id": "p",
            "identifier": [{"value": "PHANTOM1"}],
            "gender": "female",
        },
        {"resourceType": "Observation", "id": "o", "status": "final", "valueString": "8 mm"},
    ],
    "result": [{"reference": "#o"}],
}
TEXTS = (
    "FINDINGS: No pleural effusion or pneumothorax. Normal heart size.\nIMPRESSION: 8 mm nodule.",
    "Cannot exclude pneumonia in the left lower lobe; may be atelectasis. \u202eno\u202c edema",
    "1. Stable cardiomegaly.\n2. No change since 1/2/2020.\n\tdifficult to exclude mass?",
)


def image() -> Dataset:
    """A CT slice of 8 x 8."""
    geometry = SeriesGeometry(rows=8, columns=8, slices=1)
    (ds,) = ct_series(StudyIdentity(seed="fuzz"), geometry)
    return ds


def report() -> Dataset:
    """A basic text SR with one section."""
    ds = image()
    for keyword in ("PixelData", "Rows", "Columns"):
        del ds[keyword]
    ds.Modality, ds.SOPClassUID = "SR", "1.2.840.10008.5.1.4.1.1.88.11"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "VERIFIED"
    text, section, heading = Dataset(), Dataset(), Dataset()
    heading.CodeValue, heading.CodingSchemeDesignator = "121070", "DCM"
    heading.CodeMeaning = "Findings"
    text.RelationshipType, text.ValueType = "CONTAINS", "TEXT"
    text.TextValue = "No pleural effusion."
    text.ConceptNameCodeSequence = [heading]
    section.RelationshipType, section.ValueType = "CONTAINS", "CONTAINER"
    section.ConceptNameCodeSequence = [heading]
    section.ContentSequence = [text]
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ContentSequence = [section]
    return ds


def in_syntaxes(ds: Dataset) -> dict[str, bytes]:
    """The data set behind the byte that chooses its transfer syntax."""
    explicit = encoded(ds)
    inflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return {
        "explicit": bytes([EXPLICIT]) + explicit,
        "implicit": bytes([IMPLICIT]) + encoded(ds, implicit_vr=True),
        "big": bytes([EXPLICIT_BIG]) + encoded(ds, little_endian=False),
        "deflated": bytes([DEFLATED]) + inflater.compress(explicit) + inflater.flush(),
        "cut": bytes([EXPLICIT]) + explicit[:-20],
    }


def file_of(ds: Dataset) -> bytes:
    """As STOW-RS brings it."""
    with TemporaryDirectory() as name:
        path = Path(name) / "one.dcm"
        ds.save_as(path, enforce_file_format=True)
        return path.read_bytes()


def associations() -> dict[str, bytes]:
    """`\\x80`: after an association was accepted."""
    data = encoded(image())
    store = p_data(1, 0x03, store_command("1.2.3.4", CT)) + p_data(1, 0x02, data)
    release = bytes([5, 0, 0, 0, 0, 4, 0, 0, 0, 0])
    return {
        "store": b"\x80" + store + release,
        "escape": b"\x80" + p_data(1, 0x03, store_command("../../x", CT)) + p_data(1, 0x02, data),
        "no_data": b"\x80" + p_data(1, 0x03, store_command("1.2.5", CT, data_set=False)),
        "abort": b"\x80" + store[:-10] + bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0]),
        "http": b"\x00GET / HTTP/1.1\r\n\r\n",
        "endless": b"\x00\x01\x00\xff\xff\xff\xff" + bytes(100),
    }


def uploads() -> dict[str, bytes]:
    """STOW bodies; the first byte is the length of the pieces they come in, less one."""
    head = b"\r\nContent-Type: application/dicom\r\n\r\n"
    part = b"--edge" + head + file_of(image()) + b"\r\n"
    return {
        "two": b"\xff" + part + part + b"--edge--\r\n",
        "unended": b"\x40" + part,
        "no_dicom": b"\x00" + b"--edge" + head + b"DICM?\r\n--edge--",
        "no_parts": b"\x07--edge--\r\n",
        "headers": b"\xff--edge\r\n" + b"X: y\r\n" * 400 + b"\r\nz\r\n--edge--",
    }


def handshakes() -> dict[str, bytes]:
    """Of TLS; `\x80`: what follows goes through the line once it is safe."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    hello = context.wrap_bio(incoming, outgoing, server_hostname="node")
    with suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    stored = {f"inside_{name}": data for name, data in associations().items()}
    return {
        **stored,
        "hello": b"\x00" + outgoing.read(),
        "plain": associations()["endless"],
        "alert": b"\x00\x15\x03\x03\x00\x02\x02\x28",
    }


def bundle_files() -> dict[str, bytes]:
    """`m`: metadata.json, anything else: dicom.json."""
    with TemporaryDirectory() as name:
        root = write_bundle(Path(name))
        dicom = (root / "configs" / "dicom.json").read_bytes()
        metadata = (root / "configs" / "metadata.json").read_bytes()
    outside = json.loads(dicom)
    outside["files"]["../../secret"] = "ab" * 32
    return {
        "dicom": b"d" + dicom,
        "metadata": b"m" + metadata,
        "outside": b"d" + json.dumps(outside).encode(),
        "deep": b"d" + b"[" * 5000,
        "number": b'd{"files": ' + b"9" * 5000 + b"}",
    }


def seeds() -> dict[str, dict[str, bytes]]:
    """Target -> name -> input."""
    command = store_command("1.2.3.4", CT)
    fragments = bytes([0x13, len(command)]) + command + bytes([0x12, 4]) + b"data"
    whole = file_of(image())
    entry = {"resource": FHIR, "fullUrl": "urn:uuid:1"}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    table = b'uid,findings,impression\n1,No effusion.,Normal.\n2,"Mass,\nleft",\n'
    line = json.dumps({"uid": "1", "findings": "No effusion.", "impression": None}).encode()
    return {
        "association": associations(),
        "secured": handshakes(),
        "uploads": uploads(),
        "commands": {"command": command, "fragments": fragments, "empty": b""},
        "datasets": in_syntaxes(image()),
        "images": in_syntaxes(image()),
        "structured_reports": in_syntaxes(report()),
        "files": {"whole": whole, "bare": whole[132:], "cut": whole[:300]},
        "hl7": {"oru": HL7, "other": HL7.replace(b"ORU^R01", b"ADT^A08"), "cut": HL7[:90]},
        "fhir": {
            "report": json.dumps(FHIR).encode(),
            "bundle": json.dumps(bundle).encode(),
            "deep": b'{"resourceType":' + b"[" * 3000,
        },
        "report_texts": {str(number): text.encode() for number, text in enumerate(TEXTS)},
        "bulk": {"csv": table, "json": line + b"\n{}\n[]\n", "cut": table[:40]},
        "rules": {
            "default": default_rules().encode()[:4000],
            "odd": b'[[rule]]\nname = "x"\nalgorithm = "y"\n[rule.series.image]\nModality = 3\n',
            "nested": b"a = " + b"[" * 2000,
        },
        "bundles": bundle_files(),
        "searches": {
            "studies": b"\x00PatientName=A*&StudyDate=20200101-20210101&limit=5",
            "series": b"\x01Modality=CT&includefield=all&offset=1",
            "instances": b"\x0200080018=1.2,1.3&fuzzymatching=true",
        },
    }


def main() -> None:
    for target, inputs in seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in inputs.items():
            (folder / f"seed_{name}").write_bytes(data)


if __name__ == "__main__":
    main()
