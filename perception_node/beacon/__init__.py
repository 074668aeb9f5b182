"""Pose of a beacon of four to eight infrared LEDs from one gray picture at a time: spots, identities, pose, and how sure it is."""
