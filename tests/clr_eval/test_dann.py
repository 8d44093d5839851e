"""The domain-adversarial classifier against gradients taken one by one."""

from __future__ import annotations

import torch

from clr_eval.config import EvalConfig
from clr_eval.study.dann import DomainAdversarialClassifier, reverse_gradient
from clr_train.config import TrainConfig
from clr_train.learner import Learner
from tests.clr_train.batches import make_batch


def make(alpha: float = 0.7) -> DomainAdversarialClassifier:
    config = TrainConfig(model="zepto", kernel_size=3, seed=1)
    learner = Learner(config, device=torch.device("cpu"))
    return DomainAdversarialClassifier(learner, target=make_batch(2, 15), alpha=alpha, seed=3)


def test_a_reversed_gradient() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reverse_gradient(x, alpha=0.5)
    assert torch.equal(y, x)
    (gradient,) = torch.autograd.grad((y * torch.tensor([3.0, 4.0])).sum(), x)
    assert gradient.tolist() == [-1.5, -2.0]


def test_gradients_are_those_of_two_losses_taken_apart() -> None:
    """The encoder gets d(class loss) - alpha d(domain loss), each head that of its own loss."""
    network, alpha = make(), 0.7
    source, target = make_batch(4, 12), make_batch(5, 12)
    encoder = list(network.encoder.parameters())
    heads = [*network.head.parameters(), *network.domain_head.parameters()]
    features = network._features(source, epoch=0, augment=False)
    others = network._features(target, epoch=0, augment=False)
    loss = network._class_loss(features, source.label)
    loss = loss + network._domain_loss(features, others, alpha=alpha)
    found = torch.autograd.grad(loss, [*encoder, *heads], retain_graph=True)

    by_class = torch.zeros(())
    for row, label in zip(network.head(features), source.label, strict=True):
        by_class = by_class - row.log_softmax(0)[label] / len(features)
    by_domain = torch.zeros(())
    for rows, sign in ((features, -1.0), (others, 1.0)):
        for logit in network.domain_head(rows)[:, 0]:
            by_domain = by_domain - torch.sigmoid(sign * logit).log() / 24
    own = torch.autograd.grad(by_class, encoder, retain_graph=True, allow_unused=True)
    adverse = torch.autograd.grad(by_domain, encoder, retain_graph=True, allow_unused=True)
    expected = [
        (0 if a is None else a) - alpha * (0 if b is None else b)
        for a, b in zip(own, adverse, strict=True)
    ]
    expected += torch.autograd.grad(by_class + by_domain, heads)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, torch.as_tensor(other), rtol=1e-4, atol=1e-5)


def test_it_trains_on_both_and_does_not_see_the_labels_of_the_target() -> None:
    config = EvalConfig(checkpoint="", shards="", epochs=1, min_steps=3, batch_size=8)
    predicted = []
    for label in (0, 3):
        network = make()
        network.target = network.target.take(torch.arange(15))
        network.target.label.fill_(label)
        network.fit(make_batch(6, 24), config=config)
        predicted.append(torch.from_numpy(network.predict(make_batch(7, 9))))
    assert torch.equal(*predicted)
    # Each particle of the target comes once before any comes again.
    network = make()
    seen = torch.cat([network._next_target(4).particle for _ in range(4)])
    assert len(set(seen[:15].tolist())) == 15
