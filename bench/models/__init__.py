"""Models: plain networks; where a spatial transformer stands in them is the study's matter."""
