# Whatever runs then: the machine is gone, as shutting down terminates it. A reboot changes nothing.
end=$(date -u -d "$EXPIRES" +%s)
[ "$(date +%s)" -lt "$end" ] || shutdown -h now
if [ -d /run/systemd/system ]; then
  printf '%s\n' '[Service]' 'Type=oneshot' 'ExecStart=/usr/bin/systemctl poweroff' \
    >/etc/systemd/system/llmcloud-expiry.service
  printf '%s\n' '[Timer]' "OnCalendar=$EXPIRES UTC" AccuracySec=1s Persistent=true '[Install]' \
    'WantedBy=timers.target' >/etc/systemd/system/llmcloud-expiry.timer
  systemctl daemon-reload && systemctl enable --now llmcloud-expiry.timer
else
  (while [ "$(date +%s)" -lt "$end" ]; do sleep 1; done; shutdown -h now) >/dev/null 2>&1 </dev/null &
fi
