package smpclient

import (
	"crypto/rsa"

	"parley"
)

// For tests of the package from outside.
func SealBody(ek *rsa.PublicKey, plain []byte) ([]byte, error)      { return sealBody(ek, plain) }
func OpenBody(ek *rsa.PrivateKey, body []byte) ([]byte, error)      { return openBody(ek, body) }
func SplitBody(p []byte) (reserved, client, bind []byte, err error) { return splitBody(p) }

func CheckEndpoint(c *Client, e parley.Endpoint) {
	parseRecipient(e)
	c.parseSender(e)
}
