"""Images: found, missing, misnamed, not to be had."""

from collections.abc import AsyncIterator

import pytest

from node.runtime import base
from node.runtime.base import Runtime
from tests.contract.runtime.conftest import a_spec
from tests.fakes.archives import image_archive, pieces
from tests.servers.podman import TEST_IMAGE

NOWHERE = "127.0.0.1:1/no/image:1"


async def test_an_image_is_found_by_its_name_and_listed(runtime: Runtime) -> None:
    image = await runtime.image_status(TEST_IMAGE)
    assert image is not None
    assert image.id.startswith("sha256:")
    assert image.size_bytes > 0
    assert TEST_IMAGE in image.names
    assert [listed.id for listed in await runtime.list_images()] == [image.id]


async def test_a_missing_image_is_none_and_no_container_is_made_of_it(runtime: Runtime) -> None:
    assert await runtime.image_status("localhost/no-such:1") is None
    with pytest.raises(base.ImageNotFound):
        await runtime.create_container(a_spec(image="localhost/no-such:1"))
    assert await runtime.list_containers() == []


@pytest.mark.parametrize("reference", ["", "UPPER", "a b", "x:", "../y", "x@sha256:12", "a//b"])
async def test_a_text_that_names_no_image_is_refused(runtime: Runtime, reference: str) -> None:
    with pytest.raises(base.InvalidImageName):
        await runtime.image_status(reference)
    with pytest.raises(base.InvalidImageName):
        await runtime.pull_image(reference)
    with pytest.raises(base.InvalidImageName):
        await runtime.create_container(a_spec(image=reference))


async def test_an_image_that_no_registry_gives_is_an_error(runtime: Runtime) -> None:
    with pytest.raises(base.ImagePullFailed):
        await runtime.pull_image(NOWHERE)
    with pytest.raises(base.ImagePullFailed):
        await runtime.pull_image(NOWHERE, credentials=("user", "secret"))


async def test_images_of_an_archive_are_taken(runtime: Runtime) -> None:
    archive = image_archive("localhost/taken:1", padding=3 << 20)
    assert await runtime.load_images(pieces(archive), len(archive)) == ["localhost/taken:1"]
    image = await runtime.image_status("localhost/taken:1")
    assert image is not None
    assert len(await runtime.list_images()) == 2
    assert await runtime.load_images(pieces(archive), len(archive)) == ["localhost/taken:1"]
    assert len(await runtime.list_images()) == 2


@pytest.mark.parametrize("data", [b"no archive", bytes(2 << 20)])
async def test_what_is_no_archive_is_refused(runtime: Runtime, data: bytes) -> None:
    with pytest.raises(base.ImageLoadFailed):
        await runtime.load_images(pieces(data), len(data))
    assert len(await runtime.list_images()) == 1


async def test_an_archive_that_ends_too_early_is_given_up(runtime: Runtime) -> None:
    archive = image_archive("localhost/taken:1")

    async def breaking() -> AsyncIterator[bytes]:
        yield archive[:1000]
        raise ValueError("the master is gone")

    with pytest.raises(ValueError, match="the master is gone"):
        await runtime.load_images(breaking(), len(archive))
    assert len(await runtime.list_images()) == 1
