"""``python -m clr_eval`` is ``clr-eval``."""

from clr_eval.cli import eval_command

if __name__ == "__main__":
    eval_command(prog_name="clr-eval")
