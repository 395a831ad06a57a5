"""Pretrained weights of timm: out of the cache, or refused at once where there is no network."""

import time

import huggingface_hub.constants as hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from bench.models.backbone import Backbone

SHAPE, REPOSITORY = (3, 64, 64), "timm/test_resnet.r160_in1k"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    return tmp_path


def pretrained(**options):
    return Backbone(SHAPE, 10, architecture="test_resnet", pretrained=True, **options)


@pytest.mark.parametrize("offline", [False, True])
def test_weights_that_cannot_be_had_are_one_line_at_once(offline, cache, monkeypatch):
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", offline)
    began = time.monotonic()
    with pytest.raises(ValueError) as caught:
        pretrained()
    reason = "HF_HUB_OFFLINE is set" if offline else "http://127.0.0.1:9 cannot be reached"
    assert str(caught.value) == (
        f"`test_resnet`: its weights, {REPOSITORY}, are not in {cache}, and {reason}; "
        "`pretrained: false` needs no weights"
    )
    assert time.monotonic() - began < 10


def test_weights_in_the_cache_need_no_network(cache):
    made = timm.create_model("test_resnet", pretrained=False).state_dict()
    folder = cache / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123abcd")
    save_file(made, snapshot / "model.safetensors")
    found = pretrained().network.state_dict()
    assert torch.equal(found["conv1.0.weight"], made["conv1.0.weight"])
    assert torch.equal(found["layer4.0.conv1.weight"], made["layer4.0.conv1.weight"])


def test_without_pretraining_nothing_is_looked_for(cache):
    assert Backbone(SHAPE, 10, architecture="test_resnet")(torch.rand(2, *SHAPE)).shape == (2, 10)
