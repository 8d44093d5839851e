"""``python -m pilarnet_view`` is ``pilarnet-view``."""

from pilarnet_view.cli import view_command

if __name__ == "__main__":
    view_command(prog_name="pilarnet-view")
