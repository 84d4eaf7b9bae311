from .parallel import bare, build_accelerator, sharded_like, share_model, whole
from .worker_group import ALONE, Team, team_of_process

__all__ = ["ALONE", "Team", "bare", "build_accelerator", "sharded_like", "share_model", "team_of_process", "whole"]
