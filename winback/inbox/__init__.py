"""What comes back after a message is sent: received, checked, recorded before it is answered. See docs/listening.md."""
