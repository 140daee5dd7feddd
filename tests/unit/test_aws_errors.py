"""What AWS and its SDK can raise, a failure each: a test a row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.answers import Answer, answering

from llmcloud.providers.aws import credentials
from llmcloud.providers.aws.bucket import S3Bucket
from llmcloud.providers.aws.codes import CODES
from llmcloud.providers.aws.credentials import Account
from llmcloud.providers.aws.errors import Refusal, failure, translated
from llmcloud.runtime.errors import (
    Conflict,
    CredentialsError,
    Failure,
    InvalidRequest,
    NoCapacity,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    StoreGone,
    Throttled,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS: dict[str, tuple[int, type[Failure]]] = {
    "NoSuchBucket": (404, StoreGone),
    "NoSuchKey": (404, NotFound),
    "NoSuchUpload": (404, NotFound),
    "ExpiredToken": (400, CredentialsError),
    "ExpiredTokenException": (400, CredentialsError),
    "TokenRefreshRequired": (400, CredentialsError),
    "RequestExpired": (400, CredentialsError),
    "InvalidToken": (400, CredentialsError),
    "InvalidAccessKeyId": (403, CredentialsError),
    "SignatureDoesNotMatch": (403, CredentialsError),
    "NotSignedUp": (403, CredentialsError),
    "RequestTimeTooSkewed": (403, CredentialsError),
    "AccessDenied": (403, PermissionDenied),
    "AccessDeniedException": (403, PermissionDenied),
    "AllAccessDisabled": (403, PermissionDenied),
    "AccountProblem": (403, PermissionDenied),
    "PermanentRedirect": (301, InvalidRequest),
    "AuthorizationHeaderMalformed": (400, InvalidRequest),
    "IllegalLocationConstraintException": (400, InvalidRequest),
    "InvalidLocationConstraint": (400, InvalidRequest),
    "BucketAlreadyExists": (409, Conflict),
    "BucketAlreadyOwnedByYou": (409, Conflict),
    "InvalidBucketName": (400, InvalidRequest),
    "TooManyBuckets": (400, QuotaExceeded),
    "OperationAborted": (409, Unavailable),
    "BucketNotEmpty": (409, Conflict),
    "PreconditionFailed": (412, Conflict),
    "ConditionalRequestConflict": (409, Conflict),
    "BadDigest": (400, Unavailable),
    "InvalidDigest": (400, Unavailable),
    "XAmzContentChecksumMismatch": (400, Unavailable),
    "IncompleteBody": (400, Unavailable),
    "InvalidPart": (400, Conflict),
    "InvalidPartOrder": (400, Conflict),
    "EntityTooSmall": (400, Conflict),
    "EntityTooLarge": (400, InvalidRequest),
    "SlowDown": (503, Throttled),
    "Throttling": (400, Throttled),
    "ThrottlingException": (400, Throttled),
    "RequestLimitExceeded": (503, Throttled),
    "TooManyRequests": (429, Throttled),
    "ServiceUnavailable": (503, Throttled),
    "RequestTimeout": (400, Unavailable),
    "InternalError": (500, Unavailable),
    "SomethingNew": (400, InvalidRequest),
    "SomethingWorse": (502, Unavailable),
}
MUST_BE_FIXED = (CredentialsError, PermissionDenied, QuotaExceeded, NoCapacity, StoreGone)

# What the other services answer, by the one that is asked for it here.
OF_SERVICES: dict[str, tuple[str, int, type[Failure]]] = {
    "InvalidClientTokenId": ("sts", 403, CredentialsError),
    "InvalidSignatureException": ("ssm", 403, CredentialsError),
    "UnrecognizedClientException": ("sagemaker", 400, CredentialsError),
    "IncompleteSignature": ("iam", 400, CredentialsError),
    "IncompleteSignatureException": ("ssm", 400, CredentialsError),
    "MissingAuthenticationToken": ("iam", 403, CredentialsError),
    "MissingAuthenticationTokenException": ("logs", 403, CredentialsError),
    "InvalidSecurity.RequestHasExpired": ("ec2", 400, CredentialsError),
    "InvalidIdentityToken": ("sts", 400, CredentialsError),
    "IDPRejectedClaim": ("sts", 403, CredentialsError),
    "AuthFailure": ("ec2", 401, CredentialsError),
    "RegionDisabledException": ("sts", 403, CredentialsError),
    "UnauthorizedOperation": ("ec2", 403, PermissionDenied),
    "NotAuthorized": ("logs", 401, PermissionDenied),
    "DependencyAccessDeniedException": ("service-quotas", 400, PermissionDenied),
    "OperationNotPermitted": ("ec2", 400, PermissionDenied),
    "OptInRequired": ("ec2", 401, PermissionDenied),
    "Blocked": ("ec2", 400, PermissionDenied),
    "PendingVerification": ("ec2", 400, PermissionDenied),
    "InsufficientInstanceCapacity": ("ec2", 500, NoCapacity),
    "InsufficientCapacity": ("ec2", 500, NoCapacity),
    "InsufficientHostCapacity": ("ec2", 500, NoCapacity),
    "InsufficientCapacityOnHost": ("ec2", 400, NoCapacity),
    "InsufficientCapacityOnOutpost": ("ec2", 400, NoCapacity),
    "InsufficientReservedInstanceCapacity": ("ec2", 500, NoCapacity),
    "InsufficientVolumeCapacity": ("ec2", 500, NoCapacity),
    "ReservationCapacityExceeded": ("ec2", 400, NoCapacity),
    "UnfulfillableCapacity": ("ec2", 500, NoCapacity),
    "CapacityError": ("sagemaker", 400, NoCapacity),
    "Unsupported": ("ec2", 400, NoCapacity),
    "InvalidFleetConfiguration": ("ec2", 400, NoCapacity),
    "VolumeTypeNotAvailableInZone": ("ec2", 400, NoCapacity),
    "InvalidZone.NotFound": ("ec2", 400, NoCapacity),
    "SpotMaxPriceTooLow": ("ec2", 400, NoCapacity),
    "InsufficientFreeAddressesInSubnet": ("ec2", 400, NoCapacity),
    "VcpuLimitExceeded": ("ec2", 400, QuotaExceeded),
    "InstanceLimitExceeded": ("ec2", 400, QuotaExceeded),
    "MaxSpotInstanceCountExceeded": ("ec2", 400, QuotaExceeded),
    "VolumeLimitExceeded": ("ec2", 400, QuotaExceeded),
    "MaxIOPSLimitExceeded": ("ec2", 400, QuotaExceeded),
    "ResourceLimitExceeded": ("sagemaker", 400, QuotaExceeded),
    "QuotaExceededException": ("service-quotas", 400, QuotaExceeded),
    "ServiceQuotaExceededException": ("logs", 400, QuotaExceeded),
    "SecurityGroupLimitExceeded": ("ec2", 400, QuotaExceeded),
    "SecurityGroupsPerInterfaceLimitExceeded": ("ec2", 400, QuotaExceeded),
    "RulesPerSecurityGroupLimitExceeded": ("ec2", 400, QuotaExceeded),
    "NetworkInterfaceLimitExceeded": ("ec2", 400, QuotaExceeded),
    "PlacementGroupLimitExceeded": ("ec2", 400, QuotaExceeded),
    "MaxTemplateLimitExceeded": ("ec2", 400, QuotaExceeded),
    "LimitExceeded": ("iam", 409, QuotaExceeded),
    "LimitExceededException": ("logs", 400, QuotaExceeded),
    "InvalidParameterValue": ("ec2", 400, InvalidRequest),
    "InvalidParameterCombination": ("ec2", 400, InvalidRequest),
    "InvalidParameter": ("ec2", 400, InvalidRequest),
    "InvalidParameterException": ("pricing", 400, InvalidRequest),
    "ValidationError": ("autoscaling", 400, InvalidRequest),
    "ValidationException": ("sagemaker", 400, InvalidRequest),
    "InvalidInput": ("iam", 400, InvalidRequest),
    "MissingParameter": ("ec2", 400, InvalidRequest),
    "UnknownParameter": ("ec2", 400, InvalidRequest),
    "UnsupportedOperation": ("ec2", 400, InvalidRequest),
    "InvalidRequest": ("ec2", 400, InvalidRequest),
    "InvalidInstanceType": ("ec2", 400, InvalidRequest),
    "InvalidBlockDeviceMapping": ("ec2", 400, InvalidRequest),
    "IllegalArgumentException": ("service-quotas", 400, InvalidRequest),
    "InvalidAvailabilityZone": ("ec2", 400, InvalidRequest),
    "InvalidSubnet": ("ec2", 400, InvalidRequest),
    "InvalidSubnetID.NotFound": ("ec2", 400, InvalidRequest),
    "InvalidSubnetID.Malformed": ("ec2", 400, InvalidRequest),
    "InvalidVpcID.NotFound": ("ec2", 400, InvalidRequest),
    "InvalidVpcID.Malformed": ("ec2", 400, InvalidRequest),
    "InvalidKeyPair.NotFound": ("ec2", 400, InvalidRequest),
    "InvalidIamInstanceProfileArn.Malformed": ("ec2", 400, InvalidRequest),
    "MalformedPolicyDocument": ("iam", 400, InvalidRequest),
    "InvalidTagKey.Malformed": ("ec2", 400, InvalidRequest),
    "TagLimitExceeded": ("ec2", 400, InvalidRequest),
    "EncryptedVolumesNotSupported": ("ec2", 400, InvalidRequest),
    "CustomerKeyHasBeenRevoked": ("ec2", 400, InvalidRequest),
    "InvalidAMIID.NotFound": ("ec2", 400, InvalidRequest),
    "InvalidAMIID.Malformed": ("ec2", 400, InvalidRequest),
    "InvalidAMIID.Unavailable": ("ec2", 400, InvalidRequest),
    "VPCIdNotSpecified": ("ec2", 400, InvalidRequest),
    "DefaultVpcDoesNotExist": ("ec2", 400, InvalidRequest),
    "VPCResourceNotSpecified": ("ec2", 400, InvalidRequest),
    "ResourceCountExceeded": ("ec2", 400, InvalidRequest),
    "RequestResourceCountExceeded": ("ec2", 400, InvalidRequest),
    "IdempotentParameterMismatch": ("ec2", 400, Conflict),
    "IdempotentInstanceTerminated": ("ec2", 400, Conflict),
    "InvalidInstanceID.NotFound": ("ec2", 400, NotFound),
    "InvalidInstanceID.Malformed": ("ec2", 400, NotFound),
    "InvalidGroup.NotFound": ("ec2", 400, NotFound),
    "InvalidGroupId.Malformed": ("ec2", 400, NotFound),
    "InvalidSecurityGroupID.NotFound": ("ec2", 400, NotFound),
    "InvalidLaunchTemplateName.NotFoundException": ("ec2", 400, NotFound),
    "InvalidLaunchTemplateId.NotFound": ("ec2", 400, NotFound),
    "InvalidLaunchTemplateId.VersionNotFound": ("ec2", 400, NotFound),
    "InvalidPlacementGroup.Unknown": ("ec2", 400, NotFound),
    "InvalidPermission.NotFound": ("ec2", 400, NotFound),
    "InvalidVolume.NotFound": ("ec2", 400, NotFound),
    "InvalidNetworkInterfaceID.NotFound": ("ec2", 400, NotFound),
    "InvalidSpotInstanceRequestID.NotFound": ("ec2", 400, NotFound),
    "NoSuchEntity": ("iam", 404, NotFound),
    "ParameterNotFound": ("ssm", 400, NotFound),
    "ParameterVersionNotFound": ("ssm", 400, NotFound),
    "ResourceNotFound": ("sagemaker", 400, NotFound),
    "ResourceNotFoundException": ("logs", 400, NotFound),
    "NoSuchResourceException": ("service-quotas", 400, NotFound),
    "NotFoundException": ("pricing", 400, NotFound),
    "InvalidGroup.Duplicate": ("ec2", 400, Conflict),
    "InvalidPermission.Duplicate": ("ec2", 400, Conflict),
    "InvalidPlacementGroup.Duplicate": ("ec2", 400, Conflict),
    "InvalidLaunchTemplateName.AlreadyExistsException": ("ec2", 400, Conflict),
    "EntityAlreadyExists": ("iam", 409, Conflict),
    "AlreadyExists": ("autoscaling", 400, Conflict),
    "ResourceAlreadyExistsException": ("logs", 400, Conflict),
    "DependencyViolation": ("ec2", 400, Conflict),
    "InvalidGroup.InUse": ("ec2", 400, Conflict),
    "InvalidPlacementGroup.InUse": ("ec2", 400, Conflict),
    "DeleteConflict": ("iam", 409, Conflict),
    "ResourceInUse": ("sagemaker", 400, Conflict),
    "VolumeInUse": ("ec2", 400, Conflict),
    "IncorrectInstanceState": ("ec2", 400, Conflict),
    "IncorrectState": ("ec2", 400, Conflict),
    "InvalidState": ("ec2", 400, Conflict),
    "ConflictException": ("sagemaker", 400, Conflict),
    "ThrottledException": ("logs", 400, Throttled),
    "RequestThrottled": ("iam", 400, Throttled),
    "RequestThrottledException": ("logs", 400, Throttled),
    "EC2ThrottledException": ("ec2", 400, Throttled),
    "TooManyRequestsException": ("service-quotas", 400, Throttled),
    "ServiceUnavailableException": ("logs", 500, Throttled),
    "Unavailable": ("ec2", 503, Throttled),
    "RequestTimeoutException": ("ssm", 408, Unavailable),
    "InternalFailure": ("sagemaker", 500, Unavailable),
    "InternalServerError": ("ssm", 500, Unavailable),
    "InternalServerException": ("logs", 500, Unavailable),
    "InternalErrorException": ("pricing", 500, Unavailable),
    "ServiceFailure": ("iam", 500, Unavailable),
    "ServiceException": ("service-quotas", 500, Unavailable),
    "PolicyEvaluation": ("iam", 500, Unavailable),
    "IDPCommunicationError": ("sts", 400, Unavailable),
    "IdempotentCallInProgress": ("autoscaling", 500, Unavailable),
    "ResourceContention": ("autoscaling", 500, Unavailable),
    "ScalingActivityInProgress": ("autoscaling", 400, Unavailable),
    "ServiceLinkedRoleFailure": ("autoscaling", 500, Unavailable),
    "ConcurrentTagAccess": ("ec2", 400, Unavailable),
    "ConcurrentModification": ("iam", 409, Unavailable),
    "EntityTemporarilyUnmodifiable": ("iam", 409, Unavailable),
    "OperationAbortedException": ("logs", 400, Unavailable),
    "InsufficientAddressCapacity": ("ec2", 500, Unavailable),
    "Throttling": ("autoscaling", 400, Throttled),
    "ThrottlingException": ("sagemaker", 400, Throttled),
    "RequestLimitExceeded": ("ec2", 503, Throttled),
    "RequestExpired": ("ec2", 400, CredentialsError),
    "ExpiredToken": ("iam", 403, CredentialsError),
    "ExpiredTokenException": ("sagemaker", 400, CredentialsError),
    "AccessDenied": ("iam", 403, PermissionDenied),
    "AccessDeniedException": ("sagemaker", 400, PermissionDenied),
    "SomethingNew": ("ec2", 400, InvalidRequest),
    "SomethingWorse": ("autoscaling", 500, Unavailable),
}
# One request to each: what it is called in Python and in policies, and what it needs to be sent.
REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ec2": ("run_instances", "ec2:RunInstances", {"MinCount": 1, "MaxCount": 1}),
    "autoscaling": ("describe_auto_scaling_groups", "autoscaling:DescribeAutoScalingGroups", {}),
    "iam": ("get_role", "iam:GetRole", {"RoleName": "a"}),
    "sts": ("get_caller_identity", "sts:GetCallerIdentity", {}),
    "ssm": ("get_parameters", "ssm:GetParameters", {"Names": ["a"]}),
    "sagemaker": ("stop_training_job", "sagemaker:StopTrainingJob", {"TrainingJobName": "a"}),
    "logs": ("describe_log_streams", "logs:DescribeLogStreams", {"logGroupName": "a"}),
    "pricing": ("get_products", "pricing:GetProducts", {"ServiceCode": "AmazonEC2"}),
    "service-quotas": (
        "get_service_quota",
        "servicequotas:GetServiceQuota",
        {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"},
    ),
}


def _refuse(method: str, path: str, body: bytes) -> Answer:
    """Answer a request with the error that its path ends in."""
    status, _, code = path.partition("?")[0].rpartition("/")[2].partition("-")
    if not status.isdigit():  # the SDK looks where the bucket lies
        status, code = "404", "NoSuchBucket"
    return int(status), {}, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()


def _error(service: str, code: str, said: str) -> bytes:
    """Return an error in the words of a service's protocol."""
    error = f"<Code>{code}</Code><Message>{said}</Message>"
    if service == "ec2":
        return f"<Response><Errors><Error>{error}</Error></Errors></Response>".encode()
    if service in {"iam", "sts", "autoscaling"}:
        return f"<ErrorResponse><Error>{error}</Error></ErrorResponse>".encode()
    return json.dumps({"__type": f"com.amazon#{code}", "message": said}).encode()


class Service:
    """What stands for every service of AWS, and answers each request alike."""

    def __init__(self) -> None:
        self.answer: Answer = (200, {}, b"")
        self.account = Account()

    def refused(
        self, service: str, code: str, status: int, said: str = "So it is.", **options: str
    ) -> Failure:
        """Return what one request to a service ends in that answers so."""
        method, _, parameters = REQUESTS[service]
        self.answer = (status, {}, _error(service, code, said))
        client = self.account.client_of(service, "us-east-1")
        with pytest.raises(Failure) as caught, translated("aws, us-east-1", **options):
            getattr(client, method)(**parameters)
        return caught.value


@pytest.fixture(scope="module")
def aws() -> Iterator[Service]:
    """Give a service of whose clients each is made once, which takes longer than all requests."""
    with (
        answering(lambda *_: service.answer) as url,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(credentials, "TRIES", 1)  # what may pass would be asked for again, later
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        service = Service()
        for each in REQUESTS:
            service.account.client_of(each, "us-east-1")
        yield service


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    with answering(_refuse) as url:
        yield url


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have neither the user's profile nor a machine's identity take part."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }.items():
        monkeypatch.setenv(name, value)


def test_each_code_of_the_table_has_a_row_here() -> None:
    assert {code for code in CODES if not code.isdigit()} <= {*ROWS, *OF_SERVICES}


@pytest.mark.parametrize("code", ROWS)
def test_a_code_of_the_service_is_told_as_what_it_means(
    code: str, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """…with where it happened, and what to do where something can be done."""
    status, kind = ROWS[code]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", refusing)
    client = Account().client("us-east-1")
    with pytest.raises(Failure) as caught, translated("s3://bucket", "a/b"):
        client.get_object(Bucket="bucket", Key=f"{status}-{code}")
    assert type(caught.value) is kind
    assert caught.value.where == "s3://bucket, a/b"
    assert bool(caught.value.fix) >= issubclass(kind, MUST_BE_FIXED)
    assert "{" not in caught.value.what + caught.value.fix


@pytest.mark.parametrize("code", OF_SERVICES)
def test_a_code_of_another_service_is_told_as_what_it_means(code: str, aws: Service) -> None:
    """…in whatever protocol the service speaks."""
    service, status, kind = OF_SERVICES[code]
    failure = aws.refused(service, code, status)
    assert type(failure) is kind
    assert failure.where == "aws, us-east-1"
    assert bool(failure.fix) >= issubclass(kind, MUST_BE_FIXED)
    assert "{" not in failure.what + failure.fix


@pytest.mark.parametrize("service", REQUESTS)
def test_a_denied_request_names_the_action_to_allow(service: str, aws: Service) -> None:
    assert REQUESTS[service][1] in aws.refused(service, "AccessDenied", 403).fix


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidSignatureException"])
def test_a_signature_that_is_refused_may_be_the_clocks_fault(code: str) -> None:
    said = "Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z"
    found = failure(Refusal(code, "sts:GetCallerIdentity", "STS", 403, said), "AWS, who we are")
    assert said in found.what
    assert "clock" in found.fix


def test_what_cannot_be_read_in_a_denial_is_left_out(aws: Service) -> None:
    """EC2 adds two kilobytes that only sts:DecodeAuthorizationMessage makes sense of."""
    said = "You are not authorized. Encoded authorization failure message: 4GIOHlTkIaWHQD0Q"
    failure = aws.refused("ec2", "UnauthorizedOperation", 403, said)
    assert failure.what == (
        "AWS does not permit this (UnauthorizedOperation): You are not authorized."
    )
    assert "ec2:RunInstances, ec2:CreateTags and iam:PassRole" in failure.fix


def test_what_a_service_says_is_told_in_one_short_line(aws: Service) -> None:
    said = "Value (m9.huge) for  parameter\ninstanceType is invalid. " + "x" * 1000
    failure = aws.refused("ec2", "InvalidParameterValue", 400, said)
    begin = "EC2 refused the request (InvalidParameterValue): Value (m9.huge) for parameter inst"
    assert failure.what.startswith(begin)
    assert len(failure.what) < 400


@pytest.mark.parametrize(
    ("code", "requests"),
    [
        ("InsufficientInstanceCapacity", 1),
        ("MaxSpotInstanceCountExceeded", 1),
        ("InternalError", 2),
    ],
)
def test_what_another_place_may_have_is_not_asked_for_again(
    code: str, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though EC2 says it with the status of a failure, which is."""
    monkeypatch.setattr(credentials, "TRIES", 2)
    asked = []

    def refuse(method: str, path: str, body: bytes) -> Answer:
        asked.append(body)
        return 500, {}, _error("ec2", code, "So it is.")

    with answering(refuse) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        client = Account().client_of("ec2", "us-east-1")
        with pytest.raises(Failure), translated("us-east-1"):
            client.run_instances(MinCount=1, MaxCount=1)
    assert len(asked) == requests


TRIED_OUT = "You must use a valid fully-formed launch template. "
TRIALS = [
    ("We currently do not have sufficient m7i.large capacity in the zone.", NoCapacity),
    ("We currently do not have sufficient capacity to launch all of them.", NoCapacity),
    ("The type (m7i) is not supported in your requested Availability Zone (a).", NoCapacity),
    ("You have requested more instances (6) than your current instance limit of 4.", QuotaExceeded),
    ("You have requested more vCPU capacity than your current vCPU limit of 0.", QuotaExceeded),
    ("The security group 'sg-1' does not exist", Unavailable),
    ("The Placement Group 'llmcloud-a' is unknown", Unavailable),
    ("The encrypted flag cannot be specified.", InvalidRequest),
]


@pytest.mark.parametrize(("said", "kind"), TRIALS)
def test_what_a_template_was_refused_for_is_told_by_its_words(
    aws: Service, said: str, kind: type[Failure]
) -> None:
    """Auto Scaling leaves out EC2's code; without its own words before them, they are no reason."""
    tried_out = aws.refused("autoscaling", "ValidationError", 400, f"{TRIED_OUT}{said}")
    assert type(tried_out) is kind
    assert type(aws.refused("autoscaling", "ValidationError", 400, said)) is InvalidRequest


def test_a_service_is_called_by_its_name(aws: Service) -> None:
    failure = aws.refused("autoscaling", "Throttling", 400)
    assert failure.what == "Auto Scaling asks for patience (Throttling)."


def test_the_quota_to_raise_is_named_where_it_is_known(aws: Service) -> None:
    named = aws.refused("ec2", "VcpuLimitExceeded", 400, quota="L-417A185B to 192")
    assert named.fix == "Raise L-417A185B to 192."
    assert "llmcloud doctor aws" in aws.refused("ec2", "VcpuLimitExceeded", 400).fix


@pytest.mark.parametrize(("status", "kind"), [(403, PermissionDenied), (503, Throttled)])
def test_an_answer_without_a_body_is_told_by_its_status(
    status: int, kind: type[Failure], refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", refusing)
    with pytest.raises(kind):
        S3Bucket(Account(), "bucket", lambda: None, lambda *_: None).crc32c(f"{status}-")


def test_a_permission_that_is_missing_is_named(
    refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", refusing)
    with pytest.raises(PermissionDenied) as caught, translated("s3://bucket"):
        Account().client("us-east-1").get_object(Bucket="bucket", Key="403-AccessDenied")
    assert "s3:GetObject" in caught.value.fix


CLASSES: dict[str, tuple[dict[str, str], str, type[Failure]]] = {
    "nobody listens": ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "", Unavailable),
    "no such profile": ({"AWS_ACCESS_KEY_ID": "", "AWS_PROFILE": "no"}, "", CredentialsError),
    "no credentials": ({"AWS_ACCESS_KEY_ID": ""}, "", CredentialsError),
    "half of the keys": ({"AWS_SECRET_ACCESS_KEY": ""}, "", CredentialsError),
    "a process that fails": (
        {"AWS_ACCESS_KEY_ID": ""},
        "[default]\ncredential_process = false\n",
        CredentialsError,
    ),
    "an unreadable file": ({"AWS_ACCESS_KEY_ID": ""}, "not an ini file", InvalidRequest),
    "no region": ({"AWS_REGION": "no_where!"}, "", InvalidRequest),
}


@pytest.mark.parametrize("row", CLASSES)
def test_what_the_sdk_raises_by_itself_is_told_as_what_it_means(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ, config, kind = CLASSES[row]
    for name, value in environ.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    if config:
        (tmp_path / "config").write_text(config)
    with pytest.raises(kind) as caught:
        S3Bucket(Account(), "bucket", lambda: None, lambda *_: None).crc32c("a")
    assert caught.value.fix
    assert "{" not in caught.value.what


def test_a_name_that_the_sdk_does_not_send_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(InvalidRequest):
        S3Bucket(Account(), "no bucket", lambda: None, lambda *_: None).crc32c("a")
