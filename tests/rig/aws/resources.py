"""Which resources a request touches, and what IAM's conditions can ask of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from moto.ec2.models import ec2_backends
from moto.ec2.utils import convert_tag_spec
from moto.iam.models import iam_backends
from tests.rig.aws import s3
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.checks import profile_name
from tests.rig.aws.policy import Asked
from tests.rig.aws.template import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.rig.aws.call import Call

S3_ACTIONS = {  # where the operation has not its own name
    "HeadObject": "GetObject",
    "GetObjectAttributes": "GetObject",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "HeadBucket": "ListBucket",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "DeleteObjects": "DeleteObject",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts",
    "ListBuckets": "ListAllMyBuckets",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
}
TAGGED_BY_ID = {  # a parameter of EC2's, and how the ARN calls what it names
    "InstanceIds": "instance",
    "InstanceId": "instance",
    "GroupId": "security-group",
    "GroupName": "placement-group",
    "VolumeId": "volume",
    "NetworkInterfaceId": "network-interface",
    "LaunchTemplateId": "launch-template",
}
SHELL = "SSM-SessionManagerRunShell"
KINDS = {"i": "instance", "vol": "volume", "eni": "network-interface", "sg": "security-group"}
KINDS |= {"lt": "launch-template", "sir": "spot-instances-request", "pg": "placement-group"}


def asked(call: Call) -> Iterator[Asked]:
    """Yield each action on each resource that a call needs permission for."""
    if call.service == "s3":
        yield from _of_s3(call)
        return
    makers: dict[str, Callable[[Call], Iterator[Asked]]] = {
        "ec2": _of_ec2,
        "iam": _of_iam,
        "autoscaling": _of_scaling,
        "sagemaker": _of_sagemaker,
    }
    yield from makers.get(call.service, _of_others)(call)


def _of_s3(call: Call) -> Iterator[Asked]:
    found = s3.asked(call.request)
    action = f"s3:{S3_ACTIONS.get(found.operation, found.operation)}"
    query = dict(call.request.query)
    names = {"prefix": "s3:prefix", "delimiter": "s3:delimiter", "max-keys": "s3:max-keys"}
    context = {key: [query[name]] for name, key in names.items() if name in query}
    bucket = f"arn:aws:s3:::{found.bucket}" if found.bucket else "*"
    if found.operation == "DeleteObjects":
        for key in ET.fromstring(call.body).iter():
            if key.tag.endswith("Key"):
                yield Asked(action, f"{bucket}/{key.text}", context)
        return
    yield Asked(action, f"{bucket}/{found.key}" if found.key else bucket, context)
    if source := call.request.headers.get("x-amz-copy-source"):
        yield Asked("s3:GetObject", f"arn:aws:s3:::{s3.decoded(source).lstrip('/')}", {})


def _of_ec2(call: Call) -> Iterator[Asked]:
    action = f"ec2:{call.operation}"
    if call.operation == "RunInstances":
        yield from _of_launch(call)
        return
    if call.operation in {"CreateTags", "DeleteTags"}:
        tags = {each["Key"]: each.get("Value", "") for each in call.params.get("Tags", [])}
        for each in call.params["Resources"]:
            kind = KINDS.get(each.partition("-")[0], "*")
            yield Asked(action, _arn(call, kind, each), _tags_of(call, each) | _wanted(tags))
        return
    if call.operation.startswith("Create"):
        for kind, tags in convert_tag_spec(call.params.get("TagSpecifications", [])).items():
            yield Asked(action, _arn(call, kind, "*"), _wanted(tags))
            created = {"ec2:createaction": [call.operation]}
            yield Asked("ec2:CreateTags", _arn(call, kind, "*"), _wanted(tags) | created)
        return
    if not call.operation.startswith("Describe"):
        named = [
            (kind, each)
            for name, kind in TAGGED_BY_ID.items()
            for each in _listed(call.params.get(name))
        ]
        for kind, each in named:
            yield Asked(action, _arn(call, kind, each), _tags_of(call, each))
        if named:
            return
    yield Asked(action, "*", {})


def _of_launch(call: Call) -> Iterator[Asked]:
    """Yield what RunInstances makes and uses; each must be permitted by itself."""
    params = merged(ec2_backends[ACCOUNT][call.region], call.params)
    tags = convert_tag_spec(params.get("TagSpecifications", []))
    run = "ec2:RunInstances"
    kind_of_machine = {"ec2:instancetype": [str(params.get("InstanceType", ""))]}
    for kind in ("instance", "volume", "network-interface"):
        context = _wanted(tags.get(kind, {})) | kind_of_machine
        yield Asked(run, _arn(call, kind, "*"), context)
    for kind in tags:
        created = {"ec2:createaction": ["RunInstances"]}
        yield Asked("ec2:CreateTags", _arn(call, kind, "*"), _wanted(tags[kind]) | created)
    yield Asked(run, f"arn:aws:ec2:{call.region}::image/{params.get('ImageId')}", {})
    for nic in [params, *params.get("NetworkInterfaces", [])]:
        for name, kind in (("SubnetId", "subnet"),):
            if each := nic.get(name):
                yield Asked(run, _arn(call, kind, each), {})
        for each in [*nic.get("SecurityGroupIds", []), *nic.get("Groups", [])]:
            yield Asked(run, _arn(call, "security-group", each), _tags_of(call, each))
    name = profile_name(params)
    for profile in iam_backends[ACCOUNT]["aws"].instance_profiles.values():
        if profile.name == name:
            for role in profile.roles:
                yield _passing(role.arn, "ec2.amazonaws.com")


def _of_iam(call: Call) -> Iterator[Asked]:
    action = f"iam:{call.operation}"
    params = call.params
    names = {"InstanceProfileName": "instance-profile", "RoleName": "role", "UserName": "user"}
    for name, kind in names.items():
        if name in params:
            path = params.get("Path", "/")
            tags = _wanted({each["Key"]: each["Value"] for each in params.get("Tags", [])})
            yield Asked(action, f"arn:aws:iam::{ACCOUNT}:{kind}{path}{params[name]}", tags)
            break
    else:
        yield Asked(action, params.get("PolicySourceArn", "*"), {})
    if call.operation == "AddRoleToInstanceProfile":
        yield _passing(f"arn:aws:iam::{ACCOUNT}:role/{params['RoleName']}", "ec2.amazonaws.com")


def _of_scaling(call: Call) -> Iterator[Asked]:
    action = f"autoscaling:{call.operation}"
    tags = {each["Key"]: each.get("Value", "") for each in call.params.get("Tags", [])}
    name = call.params.get("AutoScalingGroupName")
    context: dict[str, list[str]] = _wanted(tags)
    if instance_id := call.params.get("InstanceId"):
        context |= (known := _tags_of(call, instance_id))
        name = next(iter(known.get("aws:resourcetag/aws:autoscaling:groupname", [])), "")
    if name is None or call.operation.startswith("Describe"):
        yield Asked(action, "*", context)
        return
    arn = f"arn:aws:autoscaling:{call.region}:{ACCOUNT}:autoScalingGroup:*"
    yield Asked(action, f"{arn}:autoScalingGroupName/{name}", context)


def _of_sagemaker(call: Call) -> Iterator[Asked]:
    name = call.params.get("TrainingJobName", "*")
    arn = call.params.get(
        "ResourceArn", f"arn:aws:sagemaker:{call.region}:{ACCOUNT}:training-job/{name}"
    )
    tags = {each["Key"]: each["Value"] for each in call.params.get("Tags", [])}
    is_of_all = call.operation.startswith("List") and "ResourceArn" not in call.params
    yield Asked(f"sagemaker:{call.operation}", "*" if is_of_all else arn, _wanted(tags))
    if role := call.params.get("RoleArn"):
        yield _passing(role, "sagemaker.amazonaws.com")


def _of_others(call: Call) -> Iterator[Asked]:
    action = f"{call.service}:{call.operation}"
    params = call.params
    named = (_listed(params.get(each)) for each in ("Name", "Names", "Path"))
    names = [name for names in named for name in names]
    if call.service == "ssm" and names:
        for name in names:
            account = "" if name.startswith("/aws/") else ACCOUNT
            path = name if name.startswith("/") else f"/{name}"
            yield Asked(action, f"arn:aws:ssm:{call.region}:{account}:parameter{path}", {})
    elif target := params.get("Target", ""):
        yield Asked(action, _arn(call, "instance", target), _tags_of(call, target))
        name = params.get("DocumentName", SHELL)
        account = "" if name.startswith("AWS-") else ACCOUNT
        yield Asked(action, f"arn:aws:ssm:{call.region}:{account}:document/{name}", {})
    elif session := params.get("SessionId"):
        arn = f"arn:aws:ssm:{call.region}:{ACCOUNT}:session/{session}"
        yield Asked(action, arn, _tags_of(call, session))
    elif call.service == "logs" and "logGroupName" in params:
        arn = f"arn:aws:logs:{call.region}:{ACCOUNT}:log-group:{params['logGroupName']}"
        stream = params.get("logStreamName", params.get("logStreamNamePrefix", ""))
        yield Asked(action, f"{arn}:log-stream:{stream}", {})
    elif call.service == "sts" and "RoleArn" in params:
        yield Asked(action, params["RoleArn"], {})
    else:
        yield Asked(action, "*", {})


def _passing(role_arn: str, service: str) -> Asked:
    return Asked("iam:PassRole", role_arn, {"iam:passedtoservice": [service]})


def _arn(call: Call, kind: str, name: str) -> str:
    return f"arn:aws:ec2:{call.region}:{ACCOUNT}:{kind}/{name}"


def _tags_of(call: Call, resource_id: str) -> dict[str, list[str]]:
    tags = ec2_backends[ACCOUNT][call.region].tags.get(resource_id, {})
    return {
        f"{prefix}/{key.lower()}": [value]
        for key, value in tags.items()
        for prefix in ("aws:resourcetag", "ec2:resourcetag", "ssm:resourcetag")
    }


def _wanted(tags: Mapping[str, str]) -> dict[str, list[str]]:
    said = {f"aws:requesttag/{key.lower()}": [value] for key, value in tags.items()}
    return {**said, "aws:tagkeys": list(tags)} if tags else {}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
