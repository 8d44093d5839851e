"""``python -m clr_train`` is ``clr-train``: what ``torchrun -m`` starts."""

from clr_train.cli import train_command

if __name__ == "__main__":  # reading processes import this module too
    train_command(prog_name="clr-train")
