import pytest
import torch
from contract import images
from torch import nn

from stn_core import LocalisationNetwork, SpatialTransformer, place
from stn_core.localisation import FCN
from stn_core.transforms import Affine


class Model(nn.Module):
    """A user's model that calls its layers by attribute."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.block = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 2, 3))
        self.heads = nn.ModuleList([nn.Linear(2, 3)])

    def forward(self, image):
        return self.heads[0](self.block(self.conv1(image)).mean((2, 3)))


class Add(nn.Module):
    """A layer of two arguments."""

    def forward(self, image, *, other):
        return image + other


def transformer(*shape):
    return SpatialTransformer(LocalisationNetwork(FCN(shape), Affine()), Affine())


@pytest.mark.parametrize(
    ("before", "shape"), [("conv1", (1, 9, 13)), ("block", (4, 7, 11)), ("block.1", (4, 7, 11))]
)
def test_placed_before_a_named_layer_sees_what_the_layer_saw(before, shape):
    model, image = Model(), images(2, 1, 9, 13, dtype=torch.float32)
    expected, kept = model(image), set(map(id, model.parameters()))
    assert place(model, transformer(*shape), before=before) is model
    torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=1e-5)
    assert kept < set(map(id, model.parameters()))
    model(image).sum().backward()
    bias = model.get_parameter(f"{before}.transformer.localisation.head.bias")
    assert bias.grad is not None


@pytest.mark.parametrize("before", ["conv1", "layer2", "layer3.0.conv1"])
def test_placed_in_a_timm_model(before):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    model = timm.create_model("resnet10t", pretrained=False, num_classes=3, in_chans=1).eval()
    shapes, image = [], images(2, 1, 32, 48, dtype=torch.float32)
    layer = model.get_submodule(before)
    hook = layer.register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape[1:]))
    expected = model(image)
    hook.remove()
    place(model, transformer(*shapes[0]), before=before)
    torch.testing.assert_close(model(image), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("compiling")
def test_export_and_compiled_graph_are_eager():
    model, image = Model(), images(2, 1, 9, 13, dtype=torch.float32)
    place(model, transformer(4, 7, 11), before="block.1")
    program = torch.export.export(model, (image,))
    torch.testing.assert_close(program.module()(image), model(image))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), model(image))


def test_state_dict_names():
    names = set(place(Model(), transformer(4, 7, 11), before="block.1").state_dict())
    assert {"conv1.weight", "block.1.layer.weight", "heads.0.bias"} < names
    assert "block.1.transformer.localisation.head.weight" in names


def test_second_before_the_same_layer_runs_first():
    model = nn.Sequential(nn.Identity())
    place(model, nn.ReLU(), before="0")
    place(model, nn.Tanh(), before="0")
    assert [type(m) for m in model.modules() if not list(m.children())] == [
        nn.Tanh,
        nn.ReLU,
        nn.Identity,
    ]


def test_mode_and_further_arguments_are_kept():
    model = nn.Sequential(Add()).eval()
    place(model, nn.ReLU(), before="0")
    assert not model[0].training
    assert model[0](torch.tensor(-1.0), other=torch.tensor(2.0)) == 2


def test_unknown_layers_are_refused():
    with pytest.raises(
        ValueError, match=r"`before` must name .* got 'conv2'. Did you mean 'conv1'"
    ):
        place(Model(), nn.Identity(), before="conv2")
    with pytest.raises(
        ValueError, match=r"`before` must name a layer inside .* got ''. For the in"
    ):
        place(Model(), nn.Identity(), before="")
    with pytest.raises(ValueError, match=r"that is called, got 'heads', a ModuleList"):
        place(Model(), nn.Identity(), before="heads")
    with pytest.raises(ValueError, match=r"`before` must name a layer of the model, got '0'"):
        place(nn.ReLU(), nn.Identity(), before="0")
