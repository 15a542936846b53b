"""Files of a node by an S3 bucket, from a server that speaks S3."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from dicomnode.domain.errors import FilesUnreachable
from dicomnode.files.folder import FilesMissing, FolderSource

IMAGE = "instances/2026/one.dcm"
RESULTS = "results/job-1/1"


@pytest.fixture
def server() -> Iterator[ThreadedMotoServer]:
    running = ThreadedMotoServer(port=0, verbose=False)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def options(
    server: ThreadedMotoServer, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str | int | float | bool]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="node")
    client.put_object(Bucket="node", Key=f"data/{IMAGE}", Body=b"pixels" * 1000)
    return {"endpoint_url": endpoint, "use_listings_cache": False}


def test_images_come_from_a_bucket_and_results_go_there(
    options: dict[str, str | int | float | bool], tmp_path: Path
) -> None:
    source = FolderSource("s3://node/data", options)
    fetched = BytesIO()
    source.get(IMAGE, fetched)
    assert fetched.getvalue() == b"pixels" * 1000
    assert source.names(RESULTS) == []
    made = tmp_path / "seg.dcm"
    made.write_bytes(b"segmentation")
    # Once more is no fault: a worker that was killed puts its files again.
    for _ in range(2):
        source.put(f"{RESULTS}/seg.dcm", made)
    assert source.names(RESULTS) == ["seg.dcm"]
    back = BytesIO()
    source.get(f"{RESULTS}/seg.dcm", back)
    assert back.getvalue() == b"segmentation"
    source.close()


def test_what_is_not_in_the_bucket_is_missing_by_name(
    options: dict[str, str | int | float | bool],
) -> None:
    source = FolderSource("s3://node/data", options)
    with pytest.raises(FilesMissing, match="none is no longer on the node"):
        source.get("instances/none", BytesIO())


def test_a_bucket_that_does_not_answer_is_unreachable(
    options: dict[str, str | int | float | bool],
) -> None:
    source = FolderSource("s3://node/data", {**options, "endpoint_url": "http://127.0.0.1:1"})
    with pytest.raises(FilesUnreachable, match=IMAGE):
        source.get(IMAGE, BytesIO())
