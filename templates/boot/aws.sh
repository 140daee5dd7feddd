set -euo pipefail; export HOME=/root AWS_REGION=$REGION; mkdir -p /opt/llmcloud; cd /opt/llmcloud
imds=http://169.254.169.254/latest fetch='curl -fsS --retry 9 --retry-all-errors'
config='import json,sys; k=json.load(sys.stdin); print(
"user=\"%s:%s\"\nheader=\"x-amz-security-token: %s\"" % (k["AccessKeyId"], k["SecretAccessKey"], k["Token"]))'
metadata() { local token && token=$($fetch -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 600' "$imds/api/token") &&
  $fetch -H "X-aws-ec2-metadata-token: $token" "$imds/meta-data/$1"; }
ask() { local role && role=$(metadata iam/security-credentials/) && metadata "iam/security-credentials/$role" |
  python3 -c "$config" | curl -fsS --retry 5 --retry-all-errors -K - "$@"; }
s3() { ask --aws-sigv4 "aws:amz:$REGION:s3" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@"; }
end() { tail -c 9999 boot.log >boot.end; s3 -T boot.end "$BUCKET/jobs/$JOB/boot/$(metadata instance-id).log"
  [ -z "$LEAVE" ] || ask --aws-sigv4 aws:amz -d "$LEAVE$(metadata instance-id)" "$SCALING"; shutdown -h now; }
exec 3>&1 > >(tee -a boot.log) 2>&1; tee=$! && shutdown -h +30  # a boot that hangs
trap 'exec >&3 2>&1; timeout 9 tail --pid="$tee" -f /dev/null || :; end || shutdown -h now' EXIT  # nothing runs on
s3 -o node.pyz "$BUCKET/code/$RUNTIME.pyz"; echo "$RUNTIME  node.pyz" | sha256sum -c -
venv() { python3 -c 'import ensurepip' || { apt-get update -q && apt-get install -qy -o DPkg::Lock::Timeout=600 python3-venv; }; }
venv || { sleep 60; venv; } || { sleep 180; venv; }  # upgrades at the first boot have apt's locks for minutes
python=$(ls /opt/pytorch/bin/python3 2>/dev/null || command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The image has a Python older than 3.11.")'
mkdir -p bin && ln -sf "$python" bin/python && export PATH=$(dirname "$python"):$PATH:$PWD/bin  # plain images have none
shutdown -c || true; [ -z "$MINUTES" ] || shutdown -h "+$MINUTES"
if [ -d /run/systemd/system ]; then
  { declare -p imds fetch config REGION BUCKET JOB LEAVE SCALING; declare -f metadata ask s3 end; echo "cd $PWD; end"; } >end.sh
  printf '%s\n' '[Unit]' {Success,Failure}Action=poweroff '[Service]' "ExecStart=/bin/bash $PWD/end.sh" >/etc/systemd/system/llmcloud-end.service
  printf '%s\n' '[Unit]' After=network-online.target SuccessAction=poweroff OnFailure=llmcloud-end.service StartLimit{IntervalSec=1d,Burst=5} \
    '[Service]' "Environment=HOME=/root AWS_REGION=$REGION PATH=$PATH" "ExecStart=$python $PWD/node.pyz $ARGUMENTS" Restart=on-failure \
    RestartSec=10 TimeoutStopSec=120 "StandardOutput=append:$PWD/boot.log" '[Install]' WantedBy=multi-user.target >/etc/systemd/system/llmcloud.service
  systemctl daemon-reload && systemctl enable --now --no-block llmcloud && trap - EXIT
else
  for _ in 1 2 3; do if "$python" node.pyz $ARGUMENTS; then trap - EXIT; shutdown -h now; break; fi; done
fi
