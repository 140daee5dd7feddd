"""Auto Scaling groups: what brings a job's machines back that are taken away, with nobody there."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

from llmcloud.core.provider import Machine, MachineState
from llmcloud.providers.aws import names
from llmcloud.providers.aws.codes import CODES
from llmcloud.providers.aws.errors import Refusal, failure, tolerated, translated
from llmcloud.runtime.errors import NoCapacity, QuotaExceeded, Unavailable

if TYPE_CHECKING:
    from llmcloud.providers.aws.credentials import Account
    from llmcloud.runtime.errors import Failure

# A template of the same token but other details is of another version of this program, or of
# another person who submits the same job: it will do.
THERE = {
    "AlreadyExists",
    "InvalidLaunchTemplateName.AlreadyExistsException",
    "IdempotentParameterMismatch",
}
# What is asked for again, or was done by the job's own node: DeleteAutoScalingGroup holds nothing
# but a name of ours that could be invalid.
BUSY = {"ScalingActivityInProgress", "ResourceInUse", "ValidationError"}
ABSENT = {"InvalidLaunchTemplateId.NotFound"}
FAILED = "Failed"
ELSEWHERE = {
    code for code, meaning in CODES.items() if issubclass(meaning.kind, (NoCapacity, QuotaExceeded))
}
CODE = re.compile(r"\b[A-Z][A-Za-z]+(?:\.[A-Z][A-Za-z]+)?\b")
# In an activity's Details, which are JSON with the zone beside it: shown in the examples of the AWS
# CLI, and of a failed one in aws-parallelcluster#1944.
SUBNET = re.compile(r'"Subnet ID" *: *"([^"]+)"')
LAUNCH = "Launch"


class Groups:
    """The groups of jobs in one region."""

    def __init__(self, account: Account, region: str) -> None:
        self._region = region
        self._scaling = account.client_of("autoscaling", region)
        self._ec2 = account.client_of("ec2", region)

    def create(
        self, template: dict[str, Any], group: dict[str, Any], end: dict[str, Any] | None
    ) -> None:
        """Make a group and what its machines are made after, or find them made; and its end.

        Unavailable while a group of an earlier launch is still going.
        """
        with tolerated(THERE):
            self._ec2.create_launch_template(**template)
        is_made = False
        with tolerated(THERE):
            self._scaling.create_auto_scaling_group(**group)
            is_made = True
        if not is_made:
            self._expect_same(group)
        if end:
            self._scaling.put_scheduled_update_group_action(**end)

    def _expect_same(self, group: dict[str, Any]) -> None:
        """Raise Unavailable where the group of this name is an earlier launch's, or going."""
        name = group["AutoScalingGroupName"]
        found = self._find(name)
        if found is None or _is_going(found) or _template(found) != _template(group):
            self._delete(name, found)
            raise Unavailable("An earlier group is still there.", where=name)

    def coming(self, job: str) -> list[Machine]:
        """Return the machines that a group is to bring, with why its last try failed, if it did.

        They are gone where Auto Scaling tries no more. Raises NoCapacity when no zone of the
        group's has any, and QuotaExceeded.
        """
        name = names.of_job(job)
        with translated(f"{self._region}, {name}"):
            found = self._find(name)
            if found is None or _is_going(found) or not found["DesiredCapacity"]:
                return []
            ranks = range(found["DesiredCapacity"])
            if given_up := _given_up(found, job):
                return [Machine(rank, name, MachineState.GONE, given_up) for rank in ranks]
            said = self._scaling.describe_scaling_activities(AutoScalingGroupName=name)
            # The newest first, and none of an earlier group of this name: those of deleted groups
            # are told on request only.
            tries = [*itertools.takewhile(_has_failed, said["Activities"])]
            self._raise(tries, {*found["VPCZoneIdentifier"].split(",")})
        why = tries[0].get("StatusMessage", "") if tries else ""
        return [Machine(rank, name, MachineState.COMING, why) for rank in ranks]

    def delete(self, job: str) -> bool:
        """Delete a job's group with its machines, and its templates; True once it is gone."""
        name = names.of_job(job)
        with translated(f"{self._region}, {name}"):
            found = self._find(name)
            if found is not None:
                self._delete(name, found)
                return False
            templates = self._ec2.describe_launch_templates(Filters=names.job_filter(job))
            for each in templates["LaunchTemplates"]:
                with tolerated(ABSENT):
                    self._ec2.delete_launch_template(LaunchTemplateId=each["LaunchTemplateId"])
        return True

    def withdraw(self, job: str) -> None:
        """Delete a job's group; Unavailable while it would go on, and bring machines after all."""
        if self.delete(job):
            return
        name = names.of_job(job)
        with translated(f"{self._region}, {name}"):
            found = self._find(name)
        if found is not None and not _is_going(found):
            where = f"{self._region}, {name}"
            raise Unavailable("The group can't be deleted yet: it is at work.", where=where)

    def _find(self, name: str) -> dict[str, Any] | None:
        found = self._scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])
        groups: list[dict[str, Any]] = found["AutoScalingGroups"]
        return groups[0] if groups else None

    def _delete(self, name: str, found: dict[str, Any] | None) -> None:
        if found is None or _is_going(found):
            return
        with tolerated(BUSY):
            self._scaling.delete_auto_scaling_group(AutoScalingGroupName=name, ForceDelete=True)

    def _raise(self, tries: list[dict[str, Any]], subnets: set[str]) -> None:
        """Raise that there is nothing: in each of the subnets, or by a quota, which holds in all.

        A try is made in one of them; after it has failed, Auto Scaling goes on in another.
        """
        refused = [(_subnet(each), why) for each in tries if (why := self._refusal(each))]
        for _, why in refused:
            if isinstance(why, QuotaExceeded):
                raise why
        if {subnet for subnet, _ in refused} >= subnets:
            raise refused[0][1]

    def _refusal(self, activity: dict[str, Any]) -> Failure | None:
        """Return that there is nothing, by the code in a failed try's message; else it may pass."""
        said = activity.get("StatusMessage", "")
        code = next((word for word in CODE.findall(said) if word in ELSEWHERE), "")
        if not code:
            return None
        refusal = Refusal(code, "autoscaling:CreateAutoScalingGroup", "EC2", message=said)
        return failure(refusal, f"{self._region}, spot")


def _is_going(group: dict[str, Any]) -> bool:
    """Tell whether a group is being deleted: only then it has a status."""
    return "Status" in group


def _has_failed(activity: dict[str, Any]) -> bool:
    return bool(activity["StatusCode"] == FAILED)


def _given_up(group: dict[str, Any], job: str) -> str:
    """Say that a group launches no more machines, if it does not.

    Auto Scaling does that by itself to one that could launch none for a day:
    docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html.
    """
    for each in group.get("SuspendedProcesses", []):
        if each["ProcessName"] == LAUNCH:
            why = each.get("SuspensionReason", LAUNCH)
            return (
                f"Auto Scaling launches no more ({why}): llmcloud resume {job} asks for new ones."
            )
    return ""


def _subnet(activity: dict[str, Any]) -> str:
    """Return where an activity was; "" where it does not say."""
    found = SUBNET.search(activity.get("Details", ""))
    return found[1] if found else ""


def _template(group: dict[str, Any]) -> str:
    """Return the name of what a group's machines are made after."""
    policy = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    return str(policy.get("LaunchTemplateSpecification", {}).get("LaunchTemplateName"))
