"""A training job as the service tells of it: what was asked for, and how it has fared."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.rig.aws.account import ACCOUNT

FINAL = {"Completed", "Failed", "Stopped"}
REASON_CHARACTERS = 1024
MESSAGES = {
    "Starting": "Starting the training job",
    "Pending": "Waiting for compute capacity",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "Training job interrupted",
    "Restarting": "Restarting the training job",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
    "Failed": "Training job failed",
}


@dataclass
class TrainingJob:
    """What is known of a job; changed through `move` only, from any thread."""

    request: dict[str, Any]
    region: str
    tags: dict[str, str]
    created_at: float = field(default_factory=lambda: round(time.time(), 3))  # as it is told
    status: str = "InProgress"
    transitions: list[dict[str, Any]] = field(default_factory=list)
    reason: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def name(self) -> str:
        return str(self.request["TrainingJobName"])

    @property
    def arn(self) -> str:
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:training-job/{self.name}"

    @property
    def secondary(self) -> str:
        return str(self.transitions[-1]["Status"])

    @property
    def modified_at(self) -> float:
        return float(self.transitions[-1]["StartTime"])

    @property
    def is_over(self) -> bool:
        return self.status in FINAL

    def move(self, secondary: str, status: str = "InProgress", reason: str = "") -> None:
        """Go over to another status; a job that is over stays as it is."""
        now = time.time()
        with self.changed:
            if self.is_over or (self.status == "Stopping" and status == "InProgress"):
                return
            if self.transitions:
                self.transitions[-1]["EndTime"] = now
            self.transitions.append(
                {"Status": secondary, "StartTime": now, "StatusMessage": MESSAGES[secondary]}
            )
            self.status, self.reason = status, reason[:REASON_CHARACTERS]
            if secondary == "Downloading" and not self.started_at:
                self.started_at = now
            if status in FINAL:
                self.transitions[-1]["EndTime"] = self.ended_at = now
            self.changed.notify_all()

    def describe(self) -> dict[str, Any]:
        """Return what DescribeTrainingJob answers."""
        kept = {name: value for name, value in self.request.items() if name != "Tags"}
        output = self.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        told = {
            **kept,
            **self.summary(),
            "ModelArtifacts": {"S3ModelArtifacts": f"{output}/{self.name}/output/model.tar.gz"},
            "SecondaryStatusTransitions": [dict(each) for each in self.transitions],
            "FailureReason": self.reason or None,
            "TrainingStartTime": self.started_at,
        }
        if self.started_at and self.ended_at:
            took_s = max(1, round(self.ended_at - self.started_at))
            told |= {"TrainingTimeInSeconds": took_s, "BillableTimeInSeconds": took_s}
        return {name: value for name, value in told.items() if value is not None}

    def summary(self) -> dict[str, Any]:
        """Return what ListTrainingJobs says of it."""
        told = {
            "TrainingJobName": self.name,
            "TrainingJobArn": self.arn,
            "CreationTime": self.created_at,
            "LastModifiedTime": self.modified_at,
            "TrainingEndTime": self.ended_at,
            "TrainingJobStatus": self.status,
            "SecondaryStatus": self.secondary,
        }
        return {name: value for name, value in told.items() if value is not None}
