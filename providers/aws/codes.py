"""What the codes of AWS's services and its SDK's exceptions mean: the one table of them.

Sources: S3's ErrorResponses and EC2's errors-overview in their API references (nothing else lists
those of EC2), the CommonErrors page that all API references share, the exceptions in the service
models of botocore 1.44, and its own list of throttling codes (botocore/retries/standard.py).
"""

from __future__ import annotations

import re

from llmcloud.core.meaning import CHANGED, DAMAGED, GONE, NO_OBJECT, NO_UPLOAD, NOT_EMPTY, Meaning
from llmcloud.runtime.errors import (
    Conflict,
    CredentialsError,
    InvalidRequest,
    NoCapacity,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    Throttled,
    Unavailable,
)

NO_CREDENTIALS_FIX = (
    "aws configure, or aws sso login, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
)
_NAME_FIX = "3 to 63 small letters, digits and hyphens, with a letter or digit at both ends."

_EXPIRED = Meaning(CredentialsError, "The AWS credentials have expired.", NO_CREDENTIALS_FIX)
_BAD_KEY = Meaning(
    CredentialsError, "The AWS credentials are not valid ({code}).", NO_CREDENTIALS_FIX
)
_BAD_SIGNATURE = Meaning(  # what most services but S3 say of a clock that is wrong, too
    CredentialsError,
    "AWS does not accept what the credentials have signed ({code}){said}.",
    f"Check this machine's clock; else {NO_CREDENTIALS_FIX}",
)
_CLOCK = Meaning(CredentialsError, "This machine's clock is too far from AWS's.", "Set the clock.")
_SIGN_IN = Meaning(
    CredentialsError,
    "AWS does not accept the sign-in of this machine or pipeline ({code}){said}.",
    "Sign in again; in a pipeline, compare the trust policy of its role with the token's claims.",
)
_NOT_ENABLED = Meaning(
    CredentialsError,
    "{service} does not accept the AWS credentials here ({code}){said}.",
    "aws sts get-caller-identity tells whether they are valid, and "
    "aws account list-regions --region-opt-status-contains DISABLED which regions are not enabled.",
)
_DENIED = Meaning(
    PermissionDenied,
    "AWS does not permit this ({code}){said}.",
    "Ask the account's administrator to allow {operation}, or use another profile (AWS_PROFILE).",
)
_ELSEWHERE = Meaning(
    InvalidRequest,
    "The bucket lies in another region.",
    "llmcloud buckets list shows its region; set it as AWS_REGION.",
)
_LACKING = Meaning(Conflict, "The upload lacks a part that was sent ({code}).")
_SLOW = Meaning(Throttled, "{service} asks for patience ({code}).")
REFUSED = Meaning(InvalidRequest, "{service} refused the request ({code}){said}.")
FAILED = Meaning(Unavailable, "{service} did not answer as it should ({code}).")
_BUSY = Meaning(Unavailable, "{service} is still at work on this ({code}){said}.")
_ABSENT = Meaning(
    NotFound,
    "{service} has no such thing ({code}){said}.",
    "If somebody has deleted it meanwhile, do the same again: what is missing is made anew.",
)
_EXISTS = Meaning(Conflict, "{service} has one of this name already ({code}){said}.")
_IN_USE = Meaning(Conflict, "{service} says that this is in use ({code}){said}.")

# Where these come from, the next zone, type or region may do.
_NONE_LEFT = Meaning(
    NoCapacity,
    "AWS has none of these machines left here now ({code}).",
    "Try again later, allow more regions with region:, or another accelerator.",
)
_NOT_HERE = Meaning(
    NoCapacity,
    "AWS does not have this here ({code}){said}.",
    "Name another region with region:, or another type; llmcloud accelerators lists them.",
)
_LOW_PRICE = Meaning(
    NoCapacity,
    "The spot price is above the highest bid.",
    "Try again later, or set spot: fallback to go on with machines on demand.",
)
_NO_ADDRESSES = Meaning(
    NoCapacity,
    "The subnet has too few free addresses ({code}).",
    "End what runs there, or have a larger subnet.",
)
_QUOTA = Meaning(
    QuotaExceeded, "The account's quota is too small for this ({code}){said}.", "Raise {quota}."
)
_TRIAL_QUOTA = _QUOTA._replace(
    fix="Auto Scaling tries a launch on demand first, so raise that quota, too: llmcloud doctor "
    f"aws names both.\n{_QUOTA.fix}"
)
_LIMIT = Meaning(
    QuotaExceeded,
    "The account has as many of these as it may have ({code}){said}.",
    "llmcloud gc finds what jobs have left behind; else raise the quota in Service Quotas.",
)

# These stop a job at once.
_REFUSED = Meaning(
    InvalidRequest,
    "{service} refused the request ({code}){said}.",
    "Change what the message names in the job file; llmcloud plan --requests shows what is asked.",
)
_NO_IMAGE = Meaning(
    InvalidRequest,
    "There is no such machine image in this region ({code}){said}.",
    "Take an image of this region, or leave out resources.image.",
)
_NO_NETWORK = Meaning(
    InvalidRequest,
    "The account has no default VPC in this region ({code}).",
    "aws ec2 create-default-vpc --region REGION, or name another region with region:.",
)
_NOT_SUBSCRIBED = Meaning(
    PermissionDenied,
    "The account is not subscribed to this ({code}){said}.",
    "Subscribe to it (to an image on its page in AWS Marketplace), or choose another.",
)
_BLOCKED = Meaning(
    PermissionDenied,
    "AWS has blocked this account ({code}).",
    "Ask AWS Support, from the account's console.",
)
_UNVERIFIED = Meaning(
    PermissionDenied,
    "AWS has not yet verified this account, or not for this region ({code}).",
    "Wait for the mail from AWS, or name a region that you have used before with region:.",
)
_MISMATCH = Meaning(
    Conflict,
    "The same was asked for before, with other details ({code}).",
    "Submit the job anew.",
)
_TOO_MANY = Meaning(
    InvalidRequest,
    "This is more than AWS gives in one request ({code}){said}.",
    "Ask for fewer nodes.",
)
_TOO_NEW = Meaning(Unavailable, "What was just made is not known everywhere yet ({code}){said}.")

_NOT_AWS = Meaning(Unavailable, "What answered is not {service}, or was garbled.")
_UNREACHED = Meaning(
    Unavailable,
    "{service} can't be reached.",
    "Check the network, and AWS_ENDPOINT_URL if it is set.",
)
_NO_KEYS = Meaning(
    CredentialsError, "The AWS credentials can't be had: {error}.", NO_CREDENTIALS_FIX
)
_CONFIG = Meaning(InvalidRequest, "The AWS config file is wrong: {error}.", "Mend ~/.aws/config.")


def _each(meaning: Meaning, codes: str) -> dict[str, Meaning]:
    return dict.fromkeys(codes.split(), meaning)


CODES: dict[str, Meaning] = {
    # Who asks: CommonErrors, EC2, S3, STS. Services that speak JSON add Exception to the names.
    **_each(_EXPIRED, "ExpiredToken ExpiredTokenException TokenRefreshRequired RequestExpired"),
    **_each(_BAD_KEY, "InvalidToken InvalidAccessKeyId InvalidClientTokenId NotSignedUp"),
    **_each(_BAD_SIGNATURE, "SignatureDoesNotMatch InvalidSignatureException"),
    **_each(_BAD_KEY, "UnrecognizedClientException"),
    **_each(_BAD_KEY, "IncompleteSignature IncompleteSignatureException"),
    **_each(_BAD_KEY, "MissingAuthenticationToken MissingAuthenticationTokenException"),
    **_each(_CLOCK, "RequestTimeTooSkewed InvalidSecurity.RequestHasExpired"),
    **_each(_SIGN_IN, "InvalidIdentityToken IDPRejectedClaim"),
    **_each(_NOT_ENABLED, "AuthFailure RegionDisabledException"),
    **_each(_DENIED, "AccessDenied AccessDeniedException AllAccessDisabled AccountProblem 403"),
    **_each(_DENIED, "UnauthorizedOperation NotAuthorized DependencyAccessDeniedException"),
    **_each(_DENIED, "OperationNotPermitted"),
    **_each(_NOT_SUBSCRIBED, "OptInRequired"),
    **_each(_BLOCKED, "Blocked"),
    **_each(_UNVERIFIED, "PendingVerification"),
    # What a job can go elsewhere for: EC2; CapacityError is how SageMaker's FailureReason begins
    # (docs.aws.amazon.com/batch/latest/userguide/sm_job_stuck_in_runnable_capacity.html).
    **_each(_NONE_LEFT, "InsufficientInstanceCapacity InsufficientCapacity UnfulfillableCapacity"),
    **_each(_NONE_LEFT, "InsufficientHostCapacity InsufficientCapacityOnHost CapacityError"),
    **_each(_NONE_LEFT, "InsufficientReservedInstanceCapacity ReservationCapacityExceeded"),
    **_each(_NONE_LEFT, "InsufficientVolumeCapacity InsufficientCapacityOnOutpost"),
    **_each(_NOT_HERE, "Unsupported VolumeTypeNotAvailableInZone InvalidZone.NotFound"),
    # What a group's activity says where its zone does not have the type (compiler-explorer/infra
    # #601): nothing else in our requests makes a fleet invalid.
    **_each(_NOT_HERE, "InvalidFleetConfiguration"),
    **_each(_LOW_PRICE, "SpotMaxPriceTooLow"),
    **_each(_NO_ADDRESSES, "InsufficientFreeAddressesInSubnet"),
    **_each(_QUOTA, "VcpuLimitExceeded InstanceLimitExceeded MaxSpotInstanceCountExceeded"),
    **_each(_QUOTA, "VolumeLimitExceeded MaxIOPSLimitExceeded ResourceLimitExceeded"),
    **_each(_QUOTA, "QuotaExceededException ServiceQuotaExceededException"),
    **_each(_LIMIT, "SecurityGroupLimitExceeded NetworkInterfaceLimitExceeded LimitExceeded"),
    **_each(_LIMIT, "PlacementGroupLimitExceeded MaxTemplateLimitExceeded LimitExceededException"),
    **_each(_LIMIT, "RulesPerSecurityGroupLimitExceeded SecurityGroupsPerInterfaceLimitExceeded"),
    # What no service will ever take: CommonErrors, EC2, and each service's own.
    **_each(_REFUSED, "InvalidParameterValue InvalidParameterCombination InvalidParameter"),
    **_each(_REFUSED, "InvalidParameterException ValidationError ValidationException InvalidInput"),
    **_each(_REFUSED, "MissingParameter UnknownParameter UnsupportedOperation InvalidRequest"),
    **_each(_REFUSED, "InvalidInstanceType InvalidBlockDeviceMapping IllegalArgumentException"),
    **_each(_REFUSED, "InvalidAvailabilityZone InvalidSubnet InvalidSubnetID.NotFound"),
    **_each(_REFUSED, "InvalidSubnetID.Malformed InvalidVpcID.NotFound InvalidVpcID.Malformed"),
    **_each(_REFUSED, "InvalidKeyPair.NotFound InvalidIamInstanceProfileArn.Malformed"),
    **_each(_REFUSED, "MalformedPolicyDocument InvalidTagKey.Malformed TagLimitExceeded"),
    **_each(_REFUSED, "EncryptedVolumesNotSupported CustomerKeyHasBeenRevoked"),
    **_each(_NO_IMAGE, "InvalidAMIID.NotFound InvalidAMIID.Malformed InvalidAMIID.Unavailable"),
    **_each(_NO_NETWORK, "VPCIdNotSpecified DefaultVpcDoesNotExist VPCResourceNotSpecified"),
    **_each(_TOO_MANY, "ResourceCountExceeded RequestResourceCountExceeded"),
    **_each(_MISMATCH, "IdempotentParameterMismatch IdempotentInstanceTerminated"),
    # What is there or is not: EC2, IAM, Auto Scaling, SSM, SageMaker, Logs, Service Quotas.
    **_each(
        _ABSENT, "InvalidInstanceID.NotFound InvalidInstanceID.Malformed InvalidGroup.NotFound"
    ),
    **_each(_ABSENT, "InvalidGroupId.Malformed InvalidSecurityGroupID.NotFound"),
    **_each(
        _ABSENT, "InvalidLaunchTemplateName.NotFoundException InvalidLaunchTemplateId.NotFound"
    ),
    **_each(_ABSENT, "InvalidLaunchTemplateId.VersionNotFound InvalidPlacementGroup.Unknown"),
    **_each(_ABSENT, "InvalidPermission.NotFound InvalidVolume.NotFound NoSuchEntity"),
    **_each(_ABSENT, "InvalidNetworkInterfaceID.NotFound InvalidSpotInstanceRequestID.NotFound"),
    **_each(_ABSENT, "ParameterNotFound ParameterVersionNotFound ResourceNotFound"),
    **_each(_ABSENT, "ResourceNotFoundException NoSuchResourceException NotFoundException"),
    **_each(_EXISTS, "InvalidGroup.Duplicate InvalidPermission.Duplicate EntityAlreadyExists"),
    **_each(
        _EXISTS, "InvalidPlacementGroup.Duplicate ResourceAlreadyExistsException AlreadyExists"
    ),
    **_each(_EXISTS, "InvalidLaunchTemplateName.AlreadyExistsException"),
    **_each(_IN_USE, "DependencyViolation InvalidGroup.InUse InvalidPlacementGroup.InUse"),
    **_each(_IN_USE, "DeleteConflict ResourceInUse VolumeInUse IncorrectInstanceState"),
    **_each(_IN_USE, "IncorrectState InvalidState ConflictException"),
    # What passes by itself: CommonErrors, EC2, IAM, Auto Scaling, Logs.
    **_each(_SLOW, "SlowDown Throttling ThrottlingException ThrottledException RequestThrottled"),
    **_each(_SLOW, "RequestLimitExceeded RequestThrottledException EC2ThrottledException"),
    **_each(_SLOW, "TooManyRequests TooManyRequestsException 429"),
    **_each(_SLOW, "ServiceUnavailable ServiceUnavailableException Unavailable 503"),
    **_each(FAILED, "RequestTimeout RequestTimeoutException InternalError InternalFailure"),
    **_each(FAILED, "InternalServerError InternalServerException InternalErrorException"),
    **_each(FAILED, "ServiceFailure ServiceException PolicyEvaluation IDPCommunicationError"),
    **_each(_BUSY, "IdempotentCallInProgress ResourceContention ScalingActivityInProgress"),
    **_each(_BUSY, "ConcurrentTagAccess ConcurrentModification EntityTemporarilyUnmodifiable"),
    **_each(_BUSY, "OperationAbortedException InsufficientAddressCapacity"),
    **_each(_BUSY, "ServiceLinkedRoleFailure"),
    # S3
    "NoSuchBucket": GONE,
    "NoSuchKey": NO_OBJECT,
    "NoSuchUpload": NO_UPLOAD,
    **_each(_ELSEWHERE, "PermanentRedirect AuthorizationHeaderMalformed 301"),
    "IllegalLocationConstraintException": Meaning(
        InvalidRequest,
        "This endpoint can't make a bucket in that region.",
        "Name the endpoint's own region with --region, or unset AWS_ENDPOINT_URL.",
    ),
    "InvalidLocationConstraint": Meaning(
        InvalidRequest,
        "There is no such region, or the account has not enabled it.",
        "aws account list-regions shows those enabled; name one with --region.",
    ),
    "BucketAlreadyExists": Meaning(
        Conflict,
        "The name belongs to someone else's bucket: names are unique among all of AWS's customers.",
        "Choose another name, e.g. with your organisation's in it.",
    ),
    "BucketAlreadyOwnedByYou": Meaning(
        Conflict,
        "You have a bucket of this name in another region.",
        "Leave out --region to use it, or choose another name.",
    ),
    "InvalidBucketName": Meaning(
        InvalidRequest, "S3 does not accept this name of a bucket.", _NAME_FIX
    ),
    "TooManyBuckets": Meaning(
        QuotaExceeded,
        "The account has as many buckets as it may have.",
        "Delete one with llmcloud buckets delete, or raise the quota in Service Quotas.",
    ),
    "OperationAborted": Meaning(
        Unavailable,
        "S3 is still making or deleting a bucket of this name.",
        "Try again later: a name may take an hour to be free.",
    ),
    "BucketNotEmpty": NOT_EMPTY,
    **_each(CHANGED, "PreconditionFailed ConditionalRequestConflict 412"),
    **_each(DAMAGED, "BadDigest InvalidDigest XAmzContentChecksumMismatch IncompleteBody"),
    **_each(_LACKING, "InvalidPart InvalidPartOrder"),
    "EntityTooSmall": Meaning(Conflict, "A part of the upload is smaller than S3 takes."),
    "EntityTooLarge": Meaning(InvalidRequest, "The object is larger than S3 takes."),
}

# CreateAutoScalingGroup tries out what it would launch, and says what EC2 answers without its code:
# a ValidationError that begins so, and goes on in EC2's words, by which alone they differ. Seen for
# capacity in aws-parallelcluster#1216, for limits in cloudcaptain#216, for what is not there in
# eksctl#1989.
TRIED_OUT = ("ValidationError", "You must use a valid fully-formed launch template.")
OF_TRIALS: dict[re.Pattern[str], Meaning] = {
    re.compile(r"sufficient (\S+ )?capacity"): _NONE_LEFT,
    re.compile(r"not supported in your requested Availability Zone"): _NOT_HERE,
    re.compile(r"requested more .+ than your current .*limit"): _TRIAL_QUOTA,
    re.compile(r"does not exist|is unknown"): _TOO_NEW,
}

# What the SDK raises by itself, by the name of its class or the nearest of its bases.
CLASSES: dict[str, Meaning] = {
    "NoCredentialsError": Meaning(
        CredentialsError, "There are no AWS credentials.", NO_CREDENTIALS_FIX
    ),
    "PartialCredentialsError": Meaning(
        CredentialsError, "Half of the AWS credentials is missing.", NO_CREDENTIALS_FIX
    ),
    **_each(_NO_KEYS, "CredentialRetrievalError MetadataRetrievalError"),
    "TokenRetrievalError": Meaning(
        CredentialsError, "The AWS sign-in has expired.", "aws sso login, or aws login."
    ),
    "SSOError": Meaning(CredentialsError, "The AWS sign-in has expired.", "aws sso login"),
    "LoginError": Meaning(CredentialsError, "The AWS sign-in has expired.", "aws login"),
    "ProfileNotFound": Meaning(
        CredentialsError, "There is no such AWS profile.", "aws configure list-profiles"
    ),
    "ConfigParseError": Meaning(
        InvalidRequest, "The AWS config file can't be read.", "Mend ~/.aws/config."
    ),
    "InvalidConfigError": _CONFIG,
    "ParamValidationError": Meaning(InvalidRequest, "The AWS SDK does not send this: {error}."),
    "InvalidRegionError": Meaning(
        InvalidRequest, "This is no name of an AWS region.", "Write it like us-east-1."
    ),
    "BaseEndpointResolverError": Meaning(
        InvalidRequest,
        "{service} has no endpoint in this region.",
        "Set AWS_REGION, e.g. to us-east-1.",
    ),
    **_each(_UNREACHED, "ConnectionError"),
    "SSLError": Meaning(
        Unavailable,
        "The certificate of {service} is not trusted here.",
        "Set AWS_CA_BUNDLE to the certificates of the authority that signed it.",
    ),
    **_each(_NOT_AWS, "ResponseParserError KeyError"),
    "HTTPClientError": Meaning(Unavailable, "The connection to {service} broke: {code}."),
}
# What S3's SDK checks before it sends anything are the names of buckets.
CLASSES_OF_S3 = {
    "ParamValidationError": Meaning(InvalidRequest, "S3 does not accept such a name.", _NAME_FIX)
}
