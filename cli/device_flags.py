"""The flags of every script that computes, for scripts that parse them without torch too."""

PRECISIONS = ("bf16", "fp16", "off")


def add_device_flags(parser):
    """Adds `--device` and `--amp`."""
    parser.add_argument("--device", default="auto", help="device: auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--amp",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="precision; auto is the fastest that the device supports",
    )
