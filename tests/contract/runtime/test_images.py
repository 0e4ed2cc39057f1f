"""Images: found, missing, misnamed, not to be had."""

import pytest

from node.runtime import base
from node.runtime.base import Runtime
from tests.contract.runtime.conftest import a_spec
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
