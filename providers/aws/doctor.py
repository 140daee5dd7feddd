"""`llmcloud doctor aws`: may we, is there enough, and is all there that a job will look for?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from llmcloud.core.provider import Finding
from llmcloud.providers.aws import disk_keys, machine_images, names, offers, quotas, store
from llmcloud.providers.aws.buckets import S3Buckets
from llmcloud.providers.aws.errors import translated
from llmcloud.providers.aws.machine_request import rdma_in_public
from llmcloud.providers.aws.network import Network
from llmcloud.providers.aws.simulation import Principal, denied
from llmcloud.runtime.errors import Failure, NotFound, PermissionDenied, QuotaExceeded
from llmcloud.runtime.store import split_bucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.core.provider import Offer
    from llmcloud.core.spec.models import JobSpec
    from llmcloud.providers.aws.credentials import Account
    from llmcloud.providers.aws.identity import Caller, Identity

AT_ONCE = 16
OFFERS = 4  # whose quotas are looked at: the first ones that a job would try
S3 = "s3://"
POLICY = "llmcloud doctor aws --policy prints all that is needed, for an administrator to allow."
USUAL_IMAGES = ("ubuntu", "base")


def check(
    account: Account, identity: Identity, spec: JobSpec | None = None, *, mend: bool = False
) -> list[Finding]:
    """Look at all that a job needs, or this job; `mend` makes the store, if it is missing."""
    try:
        caller = identity.caller
    except Failure as failure:
        return [_failed("identity", failure)]
    try:
        found = _distinct(offers.offers(spec)) if spec else []
    except Failure as failure:
        return [_identified(caller), _failed("offers", failure)]
    look = Look(account, identity, spec, tuple(found), mend)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looked = [pool.submit(_told, subject, at) for subject, at in look.subjects]
        return [_identified(caller), *(each.result() for each in looked)]


def _identified(caller: Caller) -> Finding:
    return Finding("identity", True, caller.arn)


def _told(subject: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Failure as failure:
        return _failed(subject, failure)


def _failed(subject: str, failure: Failure) -> Finding:
    return Finding(subject, False, str(failure), failure.fix, failure.exit_code)


def _unseen(subject: str, action: str) -> Finding:
    return Finding(subject, None, f"not looked at: {action} is not permitted")


def _distinct(found: list[Offer]) -> list[Offer]:
    """Return the first offers of each region and quota."""
    first: dict[tuple[str | None, quotas.Quota], Offer] = {}
    for offer in found:
        first.setdefault((offer.region, quotas.for_offer(offer)), offer)
    return list(first.values())[:OFFERS]


@dataclass(frozen=True)
class Look:
    """One look at an account; `offers` are those that the job would try first, if there is one."""

    account: Account
    identity: Identity
    spec: JobSpec | None
    offers: tuple[Offer, ...]
    mend: bool

    @property
    def subjects(self) -> list[tuple[str, Callable[[], Finding]]]:
        """Return what to look at, by the name it is told under."""
        found: list[tuple[str, Callable[[], Finding]]] = [
            ("region", self.region_is_enabled),
            ("permits", self.permissions),
        ]
        if self.service != quotas.MANAGED:
            found += [("network", self.network), ("images", self.images)]
            spot = dict.fromkeys(each.region or self.region for each in self.offers if each.spot)
            found += [("disks", partial(self.disks, region)) for region in spot]
        found.append(("store", self.store))
        if not self.offers:
            return found + [
                ("quota", lambda f=family: self.family(f)) for family in ("G and VT", "P")
            ]
        return found + [("quota", lambda o=offer: self.quota(o)) for offer in self.offers]

    @property
    def service(self) -> str:
        """Return the service that is asked about, empty for any."""
        return self.spec.service if self.spec else ""

    @cached_property
    def region(self) -> str:
        """Return the region that a job would begin with."""
        return (self.offers[0].region if self.offers else None) or self.account.region

    def region_is_enabled(self) -> Finding:
        """See that the account may use the region."""
        with translated(f"region {self.region}"):
            ec2 = self.account.client_of("ec2", self.account.region)
            said = ec2.describe_regions(RegionNames=[self.region], AllRegions=True)["Regions"]
        status = said[0].get("OptInStatus", "") if said else "not-opted-in"
        ok = status != "not-opted-in"
        fix = "" if ok else f"aws account enable-region --region-name {self.region}"
        detail = self.region if ok else f"the account has not enabled {self.region}"
        return Finding("region", ok, detail, fix)

    def permissions(self) -> Finding:
        """Have IAM simulate all that a job would do."""
        caller = self.identity.caller
        principal = Principal.of(caller, self.account)
        if principal is None:
            detail = "not looked at: IAM simulates what users and roles may do, not this identity"
            return Finding("permits", None, detail)
        try:
            found = denied(self.account, principal, self.service, self.region)
        except PermissionDenied:
            return _unseen("permits", "iam:SimulatePrincipalPolicy")
        except NotFound:
            return _unseen("permits", f"iam:GetRole, which tells the path of {principal.name},")
        if found:
            said = "; ".join(f"{', '.join(actions)} ({why})" for why, actions in found.items())
            code = PermissionDenied.exit_code
            return Finding("permits", False, f"IAM would deny {said}", POLICY, code)
        return Finding("permits", True, f"IAM would allow {principal.name} all that jobs do")

    def network(self) -> Finding:
        """Look for the default network, and zones that have the machines."""
        network = Network(self.account, self.region)
        subnets = network.subnets()
        if not self.offers:
            return Finding("network", True, f"subnets in {len(subnets)} zones of {self.region}")
        offer = self.offers[0]
        kind = offer.instance_type
        having = sorted(subnets.keys() & set(network.zones_of(kind)))
        if not having:
            fix = "Name another region with region:, or another type."
            nowhere = f"no zone of {self.region} with a subnet has {kind}"
            return Finding("network", False, nowhere, fix)
        detail = f"{kind} in {', '.join(having)}"
        is_public = any(subnets[zone].is_public for zone in having)
        if is_public and self.spec and (few := rdma_in_public(self.spec, offer)):
            detail += f", with {few}: private subnets in {names.SUBNETS} give all"
        return Finding("network", True, detail)

    def images(self) -> Finding:
        """Look up the images that machines boot from."""
        if self.offers and self.spec:
            named = self.spec.machine_groups()[0].machine.image
            wanted = [machine_images.wanted(named, self.offers[0])]
        else:
            families = [machine_images.FAMILIES[each] for each in USUAL_IMAGES]
            wanted = [each.format(machine="x86_64", word="amd64") for each in families]
        found = [machine_images.find(self.account, self.region, each).id for each in wanted]
        return Finding("images", True, ", ".join(found))

    def disks(self, region: str) -> Finding:
        """See that Auto Scaling, which brings spot machines, may encrypt their disks."""
        try:
            key = disk_keys.own(self.account, region)
        except PermissionDenied:
            return _unseen("disks", " or ".join(disk_keys.LOOKS))
        if key is None:
            return Finding("disks", True, f"{region}: encrypted with AWS's own key")
        detail = f"{region}: encrypted with {key}, whose policy must let Auto Scaling use it"
        return Finding("disks", None, detail, disk_keys.FIX)

    def store(self) -> Finding:
        """Look for the bucket that jobs lie in."""
        named = self.spec.store if self.spec else None
        if named and named.startswith(S3):
            return self._bucket(split_bucket("s3", named.removeprefix(S3))[0])
        if self.mend:
            made = store.default(self.account, self.identity, self.region)
            return Finding("store", True, made)
        name = store.name(self.identity, self.region)
        if not store.is_there(self.account, self.identity, self.region):
            return Finding("store", True, f"{S3}{name}, which the first job makes")
        return self._bucket(name)

    def _bucket(self, name: str) -> Finding:
        found = S3Buckets(self.account).describe(name)
        ok = found.is_private is not False
        detail = f"{found.url} in {found.region}" + ("" if ok else ", open to the public")
        return Finding("store", ok, detail, "" if ok else f"llmcloud buckets create {found.url}")

    def quota(self, offer: Offer) -> Finding:
        """See whether the account may have an offer's machines beside those it has."""
        nodes = len(self.spec.role_list()) if self.spec else 1
        region = offer.region or self.region
        quota, limit = quotas.look_up(self.account, region, quotas.for_offer(offer))
        wanted, used, told = quotas.wanted_of(offer, nodes), 0, ""
        if offer.service != quotas.MANAGED:  # what training jobs use is nowhere counted
            used = quotas.used(self.account, region, quota)
            told = f", {used} in use"
        ok = limit - used >= wanted
        fix = "" if ok else f"Raise {quota.raising(region, used + wanted)}"
        detail = f"{quota} in {region}: {limit:g} {quota.unit}{told}, {wanted} wanted"
        return Finding("quota", ok, detail, fix, QuotaExceeded.exit_code)

    def family(self, family: str) -> Finding:
        """Tell how large the quotas of a family are."""
        said = []
        for asked in quotas.of_family(family):
            quota, limit = quotas.look_up(self.account, self.region, asked)
            said.append(f"{limit:g} vCPUs of {quota}")
        return Finding("quota", True, f"{self.region}: {', '.join(said)}")
