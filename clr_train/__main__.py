"""``python -m clr_train`` is ``clr-train``; ``torchrun -m`` needs it."""

from clr_train.cli import train_command

if __name__ == "__main__":  # processes that read shards import this module too
    train_command(prog_name="clr-train")
