import pytest
import torch
from torch import nn

from stn_core import LocalisationNetwork, SpatialTransformer, parameter_groups, place
from stn_core.localisation import FCN
from stn_core.transforms import Affine


def transformer(body=None):
    network = LocalisationNetwork(body or FCN((1, 5, 7)), Affine(), num_features=32)
    return SpatialTransformer(network, Affine())


def ids(parameters):
    return sorted(map(id, parameters))


def test_localisation_networks_learn_at_their_own_rate():
    model = nn.Sequential(transformer(), nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(15, 2))
    place(model, transformer(), before="1")
    own = [*model[0].parameters(), *model.get_submodule("1.transformer").parameters()]
    rest, localisation = parameter_groups(model, lr=0.1, localisation_lr_multiplier=1e-4)
    assert ids(localisation["params"]) == ids(own)
    assert ids(rest["params"] + localisation["params"]) == ids(model.parameters())
    optimizer = torch.optim.SGD([rest, localisation], momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    optimizer.step()
    schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.01, 1e-6])


def test_shared_layers_count_as_the_rest_and_each_parameter_stands_once():
    shared = FCN((1, 5, 7))
    spatial = transformer(shared)
    model = nn.Sequential(spatial, shared, nn.Linear(32, 2))
    rest, localisation = parameter_groups(model, lr=0.1, localisation_lr_multiplier=0.1)
    assert ids(localisation["params"]) == ids(
        spatial.get_submodule("localisation.head").parameters()
    )
    assert ids(rest["params"]) == ids([*shared.parameters(), *model[2].parameters()])


def test_a_model_that_is_a_transformer_and_one_without():
    (group,) = parameter_groups(transformer(), lr=0.1, localisation_lr_multiplier=0.5)
    assert group["lr"] == 0.05
    (group,) = parameter_groups(nn.Linear(2, 3), lr=0.1, localisation_lr_multiplier=0.5)
    assert group["lr"] == 0.1


def test_negative_rates_are_refused():
    with pytest.raises(ValueError, match="`lr` must not be negative, got -0.1"):
        parameter_groups(nn.Linear(2, 3), lr=-0.1, localisation_lr_multiplier=1.0)
    with pytest.raises(ValueError, match="`localisation_lr_multiplier` must not be neg.* got nan"):
        parameter_groups(nn.Linear(2, 3), lr=0.1, localisation_lr_multiplier=float("nan"))
