"""Data sets: read or generated, held on the device, distorted batch by batch."""
