import copy
import pickle

import pytest
import torch
from contract import images
from torch import nn

from stn_core import SpatialTransformer, parameter_groups, place_as
from stn_core.finnveden import layers_before
from stn_core.localisation import CNN
from stn_core.transforms import Affine

IN_SHAPE = (1, 13, 21)


class Model(nn.Module):
    """A user's model: two convolutions, a function between them, and a functional flatten."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 2, 3)
        self.classifier = nn.Linear(2 * 9 * 17, 3)

    def forward(self, image):
        features = self.conv2(self.norm(self.conv1(image)).relu())
        return self.classifier(features.flatten(1))


class Branching(nn.Module):
    """A model whose code depends on what it is given."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.conv2 = nn.Conv2d(4, 2, 3)

    def forward(self, image):
        if image.sum() > 0:
            image = -image
        return self.conv2(self.conv1(image))


class Scale(nn.Module):
    """A layer that cannot be drawn anew."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image):
        return self.scale * image


def placed(name, model=None, **options):
    return place_as(name, model or Model(), Affine(), in_shape=IN_SHAPE, **options)


@pytest.mark.parametrize("name", ["C0", "C1", "DL1", "SL1", "DL2", "SL2"])
def test_starts_as_the_model_and_all_of_it_learns(name):
    torch.manual_seed(0)
    model, image = Model().eval(), images(2, *IN_SHAPE, dtype=torch.float32)
    expected = model(image)
    whole = placed(name, model)
    assert not model.norm.training
    torch.testing.assert_close(whole(image), expected, atol=1e-5, rtol=1e-5)
    (spatial,) = [m for m in whole.modules() if isinstance(m, SpatialTransformer)]
    nn.init.normal_(spatial.get_parameter("localisation.head.weight"), std=0.1)
    whole.train()(image).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in whole.parameters())
    gradient = spatial.get_parameter("localisation.head.weight").grad
    assert gradient is not None and gradient.any()


def test_c1_warps_the_feature_map_before_the_second_convolution():
    model = placed("C1", body=CNN)
    assert isinstance(model, Model)
    assert isinstance(model.get_submodule("conv2.transformer"), SpatialTransformer)
    assert model.get_submodule("conv2.transformer.localisation.body").in_shape == (4, 11, 19)


def test_sl_reads_the_layers_of_the_model_and_dl_a_copy_drawn_anew():
    model, image = Model().eval(), images(2, *IN_SHAPE, dtype=torch.float32)
    seen = model.norm(model.conv1(image)).relu()
    shared = placed("SL1", model).get_submodule("transformer.localisation.body.layers")
    assert torch.equal(shared(image), seen)
    assert shared.get_parameter("conv1.weight") is model.conv1.weight
    own = placed("DL1", model).get_submodule("transformer.localisation.body.layers")
    weights = own.get_parameter("conv1.weight"), model.conv1.weight
    assert weights[0] is not weights[1] and not torch.equal(*weights)
    own.load_state_dict(shared.state_dict())
    assert torch.equal(own.eval()(image), seen)


def test_shared_layers_stay_shared_and_learn_with_the_rest():
    whole = placed("SL2")
    copies = copy.deepcopy(whole), pickle.loads(pickle.dumps(whole)), whole.double()
    for one in copies:
        body = one.get_submodule("transformer.localisation.body.layers")
        assert body.get_parameter("conv2.weight") is one.get_parameter("model.conv2.weight")
        _, own = parameter_groups(one, lr=1.0, localisation_lr_multiplier=0.1)
        # Three layers of an FCN and the head.
        assert len(own["params"]) == 8


def test_another_size_of_image_for_the_model():
    whole = place_as("SL1", Model(), Affine(), in_shape=(1, 26, 42), output_size=IN_SHAPE[1:])
    assert whole(torch.zeros(2, 1, 26, 42)).shape == (2, 3)


def test_timm_model():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    model = timm.create_model("resnet10t", pretrained=False, num_classes=3, in_chans=1).eval()
    image = images(2, 1, 33, 47, dtype=torch.float32)
    expected = model(image)
    whole = place_as("SL2", model, Affine(), in_shape=(1, 33, 47))
    torch.testing.assert_close(whole(image), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("compiling")
def test_export_and_compiled_graph_are_eager():
    whole, image = placed("SL1").eval(), images(2, *IN_SHAPE, dtype=torch.float32)
    program = torch.export.export(whole, (image,))
    torch.testing.assert_close(program.module()(image), whole(image))
    compiled = torch.compile(whole, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(image), whole(image))


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused():
    for name in ("SL", "X1", "C-1", "sl1"):
        with pytest.raises(ValueError, match='`name` must be "C", "DL" or "SL" and a number, got'):
            placed(name)
    with pytest.raises(ValueError, match=r"`name` must ask for at most the 2 conv.* got 'SL3'"):
        placed("SL3")
    with pytest.raises(ValueError, match=r"place with a feature map, got 'C2', where 'classifier'"):
        placed("C2")
    with pytest.raises(ValueError, match=r"`model` must be traceable by torch.fx up to 'conv2'"):
        placed("SL1", Branching())
    with pytest.raises(ValueError, match=r"`layer` must name a layer of torch.nn .* got 'conv9'"):
        layers_before(Model(), "conv9")
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.PReLU(), nn.Conv2d(4, 2, 3))
    assert placed("DL1", model)(torch.zeros(2, *IN_SHAPE)).shape == (2, 2, 9, 17)
    model = nn.Sequential(Scale(), nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3))
    with pytest.raises(ValueError, match=r"layers with `reset_parameters` .* got a "):
        placed("DL1", model)
