"""Reports as mail systems write them: RFC 3464 appendix B and RFC 5965 section 3, with our message brought back."""

from __future__ import annotations

OURS = "0f" * 16
THEIRS = "ab" * 16


def bounce(
    message_id: str = OURS, *, action: str = "failed", status: str = "5.1.1", recipient: str = "Ada@example.com", headers_only: bool = False
) -> bytes:
    original = (
        f"Message-ID: <{message_id}@shop.example.com>\nFrom: shop@shop.example.com\nTo: {recipient}\nSubject: =?utf-8?q?We_miss_you?=\n"
    )
    kind = "text/rfc822-headers" if headers_only else "message/rfc822"
    return f"""\
Return-Path: <>
From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example.com>
Message-Id: <199407072116.RAA14128@mx.example.com>
Date: Fri, 20 Nov 2026 10:00:00 -0400
Subject: Returned mail: Cannot send message
To: bounces@shop.example.com
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="RAA14128.773615765/mx"

--RAA14128.773615765/mx

The original message could not be delivered.

--RAA14128.773615765/mx
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com
Arrival-Date: Fri, 20 Nov 2026 09:00:00 -0400

Original-Recipient: rfc822;{recipient}
Final-Recipient: RFC822; {recipient}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; 550 5.1.1 <{recipient}>: no such user
Last-Attempt-Date: Fri, 20 Nov 2026 09:30:00 -0400

--RAA14128.773615765/mx
Content-Type: {kind}

{original}
--RAA14128.773615765/mx--
""".encode()


def complaint(message_id: str = OURS, *, feedback: str = "abuse", recipient: str = "ada@example.com") -> bytes:
    return f"""\
From: <abusedesk@mailbox.example.com>
Date: Fri, 20 Nov 2026 17:40:36 +0000
Subject: FW: Earn money
To: <complaints@shop.example.com>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="part1_13d.2e68ed54_boundary"

--part1_13d.2e68ed54_boundary
Content-Type: text/plain; charset="US-ASCII"
Content-Transfer-Encoding: 7bit

This is an email abuse report.

--part1_13d.2e68ed54_boundary
Content-Type: message/feedback-report

Feedback-Type: {feedback}
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <bounces@shop.example.com>
Original-Rcpt-To: <{recipient}>
Arrival-Date: Fri, 20 Nov 2026 14:00:00 +0000
Source-IP: 192.0.2.1

--part1_13d.2e68ed54_boundary
Content-Type: message/rfc822
Content-Disposition: inline

From: <shop@shop.example.com>
Message-ID: <{message_id}@shop.example.com>
To: <{recipient}>
Subject: We miss you

Spam Spam Spam

--part1_13d.2e68ed54_boundary--
""".encode()
