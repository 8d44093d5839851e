"""``python -m pilarnet_convert`` is ``pilarnet-convert``."""

from pilarnet_convert.cli import convert_command

if __name__ == "__main__":
    convert_command(prog_name="pilarnet-convert")
