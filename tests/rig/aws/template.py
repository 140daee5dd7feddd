"""Launch templates, as far as a launch needs them: their parameters under those of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.rig.aws.call import Refusal

if TYPE_CHECKING:
    from moto.ec2.models import EC2Backend

UNTOUCHED = {"LaunchTemplate", "ClientToken", "DryRun", "MinCount", "MaxCount"}


def merged(backend: EC2Backend, params: dict[str, Any]) -> dict[str, Any]:
    """Return a launch's parameters with those of its launch template, which they override."""
    said = {name: value for name, value in params.items() if name not in UNTOUCHED}
    asked = params.get("LaunchTemplate")
    if "ClientToken" in params:
        said["ClientToken"] = params["ClientToken"]
    if not asked:
        return said
    data, tags = resolved(backend, asked)
    tagged = [*data.get("TagSpecifications", []), *said.get("TagSpecifications", [])]
    tagged.append({"ResourceType": "instance", "Tags": tags})
    return {**data, **said, "TagSpecifications": tagged}


def resolved(
    backend: EC2Backend, asked: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return a template's parameters, and the tags by which EC2 says that it was used."""
    templates = backend.launch_templates.values()
    wanted = asked.get("LaunchTemplateId") or asked.get("LaunchTemplateName")
    found = next((each for each in templates if wanted in {each.id, each.name}), None)
    if found is None:
        is_id = bool(asked.get("LaunchTemplateId"))
        raise Refusal(
            "InvalidLaunchTemplateId.NotFound"
            if is_id
            else "InvalidLaunchTemplateName.NotFoundException",
            f"The specified launch template, {wanted}, does not exist.",
        )
    version = found.get_version(asked.get("Version") or "$Default")
    tags = [
        {"Key": "aws:ec2launchtemplate:id", "Value": found.id},
        {"Key": "aws:ec2launchtemplate:version", "Value": str(version.number)},
    ]
    data = {name: value for name, value in version.data.items() if value is not None}
    specifications = data.get("TagSpecifications", [])
    data["TagSpecifications"] = [
        each for each in specifications if each["ResourceType"] != "launch-template"
    ]
    return data, tags
