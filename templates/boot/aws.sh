set -euo pipefail
export HOME=/root AWS_REGION=$REGION && mkdir -p /opt/llmcloud && cd /opt/llmcloud
imds=http://169.254.169.254/latest token='' role=''
config='import json,sys; k=json.load(sys.stdin); print(
"user=\"%s:%s\"\nheader=\"x-amz-security-token: %s\"" % (k["AccessKeyId"], k["SecretAccessKey"], k["Token"]))'
metadata() { curl -fsS --retry 9 --retry-all-errors -H "X-aws-ec2-metadata-token: $token" "$imds/meta-data/$1"; }
s3() { metadata "iam/security-credentials/$role" | python3 -c "$config" | curl -fsS --retry 5 --retry-all-errors -K - \
  --aws-sigv4 "aws:amz:$REGION:s3" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@"; }
end() { tail -c 9999 boot.log >boot.end; s3 -T boot.end "$BUCKET/jobs/$JOB/boot/$(metadata instance-id).log"; shutdown -h now; }
trap 'end || shutdown -h now' EXIT  # whatever went wrong: nothing runs on
exec > >(tee -a boot.log) 2>&1
shutdown -h +30  # a boot that hangs
token=$(curl -fsS --retry 9 --retry-all-errors -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' "$imds/api/token")
role=$(metadata iam/security-credentials/)
s3 -o node.pyz "$BUCKET/code/$RUNTIME.pyz"
echo "$RUNTIME  node.pyz" | sha256sum -c -
python3 -c 'import ensurepip' && command -v zstd || { apt-get update -q && apt-get install -qy python3-venv zstd; }
python=$(ls /opt/pytorch/bin/python3 2>/dev/null || command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The image has a Python older than 3.11.")'
mkdir -p bin && ln -sf "$python" bin/python  # which plain images do not have
export PATH=$(dirname "$python"):$PATH:$PWD/bin
shutdown -c || true; [ -z "$MINUTES" ] || shutdown -h "+$MINUTES"
if [ -d /run/systemd/system ]; then
  printf '%s\n' '[Unit]' 'After=network-online.target' 'SuccessAction=poweroff' 'FailureAction=poweroff' '[Service]' \
    "Environment=HOME=/root AWS_REGION=$REGION PATH=$PATH" "ExecStart=$python $PWD/node.pyz $ARGUMENTS" Restart=on-failure \
    TimeoutStopSec=120 '[Install]' 'WantedBy=multi-user.target' >/etc/systemd/system/llmcloud.service
  systemctl daemon-reload && systemctl enable --now --no-block llmcloud && trap - EXIT
else
  for _ in 1 2 3; do if "$python" node.pyz $ARGUMENTS; then trap - EXIT; shutdown -h now; break; fi; done
fi
